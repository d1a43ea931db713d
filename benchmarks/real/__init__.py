"""Comparing the methods on models of ComfyUI servers: ``benchmarks/real_models.py``, docs/real-models.md.

comparison: what is compared. graphs: one workflow for each image. server: a dask worker's ComfyUI. table, sheets: what is made of it.
"""
