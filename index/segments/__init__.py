"""An immutable part of an index: vectors, FAISS structure, metadata."""
