"""Files on disk: atomic writes, temporary files, JSON read into dataclasses."""
