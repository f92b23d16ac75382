"""What a student learns: the training images, read by its start and by other networks."""
