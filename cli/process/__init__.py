"""A command as a process: its streams, its paths, its end."""
