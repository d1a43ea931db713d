"""Measurements, each a command: ``python run.py bench NAME``."""
