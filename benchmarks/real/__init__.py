"""Comparing the methods on models of ComfyUI servers: ``benchmarks/real_models.py``, docs/real-models.md."""
