"""Tools over an index: verify, duplicates, exports, plots."""
