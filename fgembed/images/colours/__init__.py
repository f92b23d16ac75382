"""Colours and transparency: what an image's samples mean, in sRGB."""
