"""What each image format needs besides Pillow: signatures, checks, repairs and other decoders."""
