"""Randomly initialized image-text models of a few thousand weights, with tokenizers made on the spot."""
