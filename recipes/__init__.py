"""Published and recommended recipes, one TOML file each: a diff from the defaults."""
