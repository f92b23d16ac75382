"""Pages for people: cards, heat maps, the HTML page and the contact sheet."""
