"""Wishes about composition, color, light and texture, tried on the demo model."""
