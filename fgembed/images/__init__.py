"""Images: found, decoded, preprocessed, and read in batches or from archives."""
