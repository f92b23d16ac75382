"""Pages for people: the results page (HTML), the contact sheet (PNG), their cards and heat maps."""
