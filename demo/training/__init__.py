"""Training of the demo model: one file per part, one loop, one command (``run.py train``)."""
