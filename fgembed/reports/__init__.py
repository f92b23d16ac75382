"""Reports in Markdown with plots and maps."""
