"""Files on disk: written whole or not at all, temporary files, JSON read into dataclasses."""
