"""The encoder in torch: pooling, whitening, maps, its files."""
