"""The demo: drawn beetles, and the whole job on them."""
