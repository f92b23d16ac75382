"""The library on disk compared with its index: one file once, moves, losses, new paths."""
