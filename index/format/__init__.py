"""The index on disk: manifest, metadata, arrays, checksums, publication."""
