"""Measuring the methods on models that somebody else's ComfyUI servers have: ``benchmarks/real_models.py``, docs/real-models.md.

plan: what is to be run. graphs: one workflow for each image. stations, spread: servers, and jobs spread over them. results: the folder
that a run can be resumed from. scores, intervals, table, sheets: what is made of it.
"""
