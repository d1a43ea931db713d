"""The socket types that this pack adds to ComfyUI's own. Their names are part of shared workflows and never change."""

from __future__ import annotations

from comfy_api.latest import io

SaliencyModel = io.Custom("SALIENCY_MODEL")
"""A ``comfy_bridge.saliency.SaliencyPredictor``: images in, saliency maps out, under ComfyUI's memory management."""

Reward = io.Custom("SGOOL_REWARD")
"""A ``rewards.interface.Reward`` under ComfyUI's memory management: images and prompts in, one number per image out, higher is better."""

Objective = io.Custom("SGOOL_OBJECTIVE")
"""A ``guidance.objective.Objective``: images in, one loss per image out, lower is better."""

OptimizationSettings = io.Custom("SGOOL_SETTINGS")
"""A ``latent_optimization.presets.Preset``: update rule, step size, stopping, which iterate is returned, procedure."""
