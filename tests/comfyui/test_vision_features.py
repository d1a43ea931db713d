"""Features of CLIP_VISION: ComfyUI's own hidden states, with a gradient; and textures by them."""

from __future__ import annotations

from typing import Any

import comfy.clip_vision
import pytest
import torch
from sgool.comfy_bridge.layout import to_image
from sgool.comfy_bridge.vision_features import VisionFeatures
from sgool.guidance.objective import Context
from sgool.nodes import art

from .clip_pairs import inference_tensors, tiny_clip_vision
from .tiny_models import fill

pytestmark = pytest.mark.comfyui


def dino() -> Any:
    config = {"model_type": "dinov2", "num_hidden_layers": 4, "hidden_size": 24, "num_attention_heads": 2, "layer_norm_eps": 1e-6}
    made = comfy.clip_vision.ClipVisionModel({**config, "use_swiglu_ffn": False, "image_size": 28, "patch_size": 14})
    fill(made.model, 3)
    return made


@pytest.mark.parametrize("make", [tiny_clip_vision, dino])
def test_features_are_the_hidden_states_of_the_encoder(make: Any) -> None:
    vision = make()
    features = VisionFeatures(vision)
    images = torch.rand(2, 3, features.side, features.side, generator=torch.Generator().manual_seed(0))
    last = features.wanted[-1] - 1
    with torch.inference_mode():
        pixels = comfy.clip_model.clip_preprocess(
            to_image(images), size=features.side, mean=vision.image_mean, std=vision.image_std, crop=True
        ).float()
        expected = vision.model(pixel_values=pixels, intermediate_output=last)[1][:, 1:]
    found = features(images)[-1]
    side = found.shape[-1]
    # Core rounds pixels to whole levels of 255.
    torch.testing.assert_close(found, expected.transpose(1, 2).unflatten(2, (side, side)), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("make", [tiny_clip_vision, dino])
def test_textures_by_an_encoder_have_a_gradient_also_with_inference_weights(make: Any) -> None:
    vision = make()
    inference_tensors(vision.model)
    reference = torch.rand(1, 40, 50, 3, generator=torch.Generator().manual_seed(0))
    rule = {"rule": "reference", "subject_weight": 1.0, "ground_weight": 1.0}
    with torch.inference_mode():
        (objective,) = art.TextureNode.execute(rule=rule, reference=reference, clip_vision=vision).result
        same = objective(reference.movedim(-1, 1), Context()).losses
    images = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)).requires_grad_()
    losses = objective(images, Context()).losses
    (gradient,) = torch.autograd.grad(losses.sum(), images)
    assert float(same) < 1e-4 < float(losses.detach().min())
    assert bool(torch.isfinite(gradient).all())
    assert gradient.abs().sum() > 0


def test_other_encoders_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="Load a CLIP, SigLIP or DINOv2"):
        VisionFeatures(object())
