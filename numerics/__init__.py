"""Arithmetic that the libraries share. A leaf: it imports torch, and nothing of the pack."""
