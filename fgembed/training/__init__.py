"""Training: the loop, and a run from its settings to its folder."""
