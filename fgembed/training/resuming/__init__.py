"""What continues a training exactly: its checkpoint, and what must be the same as before."""
