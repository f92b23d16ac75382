"""What a name or the first bytes of a file say: an image, a picture that is not read, clutter."""
