"""Development only: the virtual environment, a ComfyUI to run against, and the pack as an importable package."""
