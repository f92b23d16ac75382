"""Search: queries to hits, re-ranking, explanation."""
