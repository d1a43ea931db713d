"""Train the reward: which caption belongs to an image, among the batch's and among captions with one thing wrong.

Beside the contrastive loss its image tokens learn, through a head that is thrown away, what stands where: without
it a tower of this size needs many times the steps to see small objects at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from ..architecture import JUDGE_CHANNELS, build_reward
from ..captions import COLOR_NAMES, SHAPES, Caption, hard_negatives
from ..scenes import SIDE, Scene
from ..tokens import build_tokenizer
from .data import Source, detection_targets
from .judge import detection_loss, spoil
from .loop import Schedule, precision, train

PATCH, NEGATIVES, BATCH = 8, 7, 64
# Legs: what stands there; what belongs to what; the generator's own kind of images; where things stand, which the
# contrastive loss alone did not learn (turned relations stayed at chance after the first three); and scenes without end, since by
# then it knew its 60 000 by heart (97 % of the true captions found there, 86 % on held-out ones). Each goes on from the one before.
LEGS = {
    "reward": Schedule(steps=5000, rate=1e-3, average=0.998, weight_decay=0.05),
    "binding-reward": Schedule(steps=3500, rate=8e-4, average=0.998, weight_decay=0.05),
    "tuned-reward": Schedule(steps=1800, rate=4e-4, average=0.998, weight_decay=0.05),
    "placing-reward": Schedule(steps=3200, rate=8e-4, average=0.998, weight_decay=0.05),
    "placing-reward-again": Schedule(steps=3000, rate=8e-4, average=0.998, weight_decay=0.05),
    "final-reward": Schedule(steps=2500, rate=6e-4, average=0.998, weight_decay=0.05),
    "general-reward": Schedule(steps=9000, rate=1e-3, average=0.998, weight_decay=0.05),
}
PLACING = ("placing-reward", "placing-reward-again", "final-reward", "general-reward")
BINDING = 3.0  # of the hard negatives, from the second leg on
PLACES = 2.0  # weight of the places in those legs
MEAN, STD = 0.5, 0.25  # of the reward's preprocessing, for every channel


class RewardWithHead(nn.Module):
    """transformers' ``CLIPModel`` and the head that helps it learn."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = build_reward()
        self.clip.set_attn_implementation("eager")  # with bfloat16 on a CPU, thrice as fast to train as the fused kernel
        channels = sum(v for k, v in JUDGE_CHANNELS.items() if k != "offset")
        self.head = nn.Linear(self.clip.config.vision_config.hidden_size, channels)
        self.tokenizer = build_tokenizer()

    def look(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Unit embeddings (B, d) and the head's logits by name."""
        out = self.clip.vision_model(pixel_values=(images - MEAN) / STD)
        tokens = rearrange(self.head(out.last_hidden_state[:, 1:]), "b (h w) c -> b c h w", h=64 // PATCH)
        names = [k for k in JUDGE_CHANNELS if k != "offset"]
        parts = dict(zip(names, tokens.split([JUDGE_CHANNELS[k] for k in names], dim=1), strict=True))
        return nn.functional.normalize(self.clip.visual_projection(out.pooler_output).float(), dim=-1), parts

    def read(self, captions: Sequence[Sequence[Caption]]) -> Tensor:
        """Unit embeddings (B, n, d) of as many captions for each image."""
        texts = [caption.text() for row in captions for caption in row]
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.head.weight.device)
        out = self.clip.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        embedded = nn.functional.normalize(self.clip.text_projection(out.pooler_output).float(), dim=-1)
        return rearrange(embedded, "(b n) d -> b n d", b=len(captions))

    def temperature(self) -> Tensor:
        """What cosines are multiplied by, a number."""
        return torch.as_tensor(self.clip.logit_scale).exp().clamp(max=100)


class Places(nn.Module):
    """One linear map from embeddings to where each kind of object stands, the same for images and for captions.

    It makes both towers keep places in the same directions of their common space; thrown away like the other head.
    """

    def __init__(self, reward: RewardWithHead) -> None:
        super().__init__()
        self.reward = reward
        self.where = nn.Linear(reward.clip.config.projection_dim, len(KINDS) * 2)

    def loss(self, images: Tensor, captions: Tensor, scenes: Sequence[Scene]) -> Tensor:
        """Mean error of places: of an image's objects from their common middle, in halves of the image, and of a caption's
        first two objects along the axis that it speaks of."""
        seen, read = (self.where(e * len(KINDS)).unflatten(1, (len(KINDS), 2)) for e in (images, captions))
        return _image_error(seen, scenes) + _caption_error(read, scenes)


KINDS = tuple((color, shape) for color in COLOR_NAMES for shape in SHAPES)
_AXES = {"left of": (0, -0.5), "right of": (0, 0.5), "above": (1, -0.5), "below": (1, 0.5)}


def _image_error(where: Tensor, scenes: Sequence[Scene]) -> Tensor:
    errors = []
    for row, scene in zip(where, scenes, strict=True):
        places = torch.tensor([[o.x, o.y] for o in scene.objects], device=where.device)
        kinds = [KINDS.index((o.color, o.shape)) for o in scene.objects]
        if len(set(kinds)) == len(kinds) > 1:
            errors.append((row[kinds] - (places - places.mean(0)) / (SIDE / 2)).abs().mean())
    return torch.stack(errors).mean() if errors else where.sum() * 0


def _caption_error(where: Tensor, scenes: Sequence[Scene]) -> Tensor:
    errors = []
    for row, scene in zip(where, scenes, strict=True):
        if scene.caption.relation is not None:
            axis, side = _AXES[scene.caption.relation]
            first, second = (KINDS.index((p.color, p.shape)) for p in scene.caption.phrases[:2])
            errors.append((row[first, axis] - side).abs() + (row[second, axis] + side).abs())
    return torch.stack(errors).mean() if errors else where.sum() * 0


def contrast(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """``texts`` (B, 1 + N, d), the true one first: each image against all true captions and its own wrong ones, and
    each true caption against all images."""
    own = torch.einsum("bd,bnd->bn", images, texts) * scale
    across = images @ texts[:, 0].T * scale
    off = across.masked_fill(torch.eye(len(images), dtype=torch.bool, device=images.device), float("-inf"))
    target = torch.zeros(len(images), dtype=torch.long, device=images.device)
    by_image = nn.functional.cross_entropy(torch.cat([own, off], dim=1), target)
    by_text = nn.functional.cross_entropy(across.T, torch.arange(len(images), device=images.device))
    return by_image + 0.5 * by_text


def train_reward(leg: str, folder: Path, sources: Sequence[Source], *, start: nn.Module | None, device: torch.device) -> RewardWithHead:
    """Train one of ``LEGS`` on ``sources``, mixed evenly, from the weights of ``start``."""
    torch.manual_seed(30)
    model = RewardWithHead().to(device)
    if start is not None:
        model.load_state_dict(start.state_dict())
    binding = 1.0 if start is None else BINDING
    places = Places(model).to(device) if leg in PLACING else None

    def loss(generator: torch.Generator) -> Tensor:
        drawn = [source.draw(BATCH // len(sources), generator) for source in sources]
        images = torch.cat([part for part, _ in drawn])
        scenes = [scene for _, part in drawn for scene in part]
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        captions = [(s.caption, *hard_negatives(s.caption, NEGATIVES, rng, binding=binding)) for s in scenes]
        targets = {k: v.to(device) for k, v in detection_targets(scenes, PATCH).items()}
        with precision(device):
            embedded, guesses = model.look(spoil(images, generator).to(device))
            read = model.read(captions)
        value = contrast(embedded, read, model.temperature()) + 0.5 * detection_loss(guesses, targets)
        return value if places is None else value + PLACES * places.loss(embedded, read[:, 0], scenes)

    train(leg, places or model, loss, LEGS[leg], folder, seed=30 + list(LEGS).index(leg))
    return model


@torch.no_grad()
def retrieval(
    model: RewardWithHead,
    images: Tensor,
    captions: Sequence[Caption],
    negatives: int = 15,
    seed: int = 5,
    *,
    attributes_only: bool = False,
) -> float:
    """How often the true caption scores above ``negatives`` captions with one thing wrong each. Images (n, 3, 64, 64)."""
    rng, hits = np.random.default_rng(seed), 0
    for chunk in torch.arange(len(captions)).split(100):
        own = [captions[i] for i in chunk.tolist()]
        read = model.read([(c, *hard_negatives(c, negatives, rng, attributes_only=attributes_only)) for c in own])
        embedded, _ = model.look(images[chunk])
        hits += int((torch.einsum("bd,bnd->bn", embedded, read).argmax(1) == 0).sum())
    return hits / len(captions)
