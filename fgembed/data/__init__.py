"""Training data: views of images, and batches of them."""
