"""Changes of an index: build, add, remove, compact, retune."""
