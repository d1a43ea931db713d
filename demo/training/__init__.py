"""Training of the embedded model: one file per part, one loop, one command (``run.py train``)."""
