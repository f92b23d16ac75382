"""`fgembed index` and its commands."""
