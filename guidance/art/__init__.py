"""Artistic means as objectives: composition, color, light and texture. Wishes that a user states, not measures of quality."""
