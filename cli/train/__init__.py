"""`fgembed train`: a run, or with --dry-run what it would take."""
