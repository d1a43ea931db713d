"""A small CLIP with open_clip's names and arithmetic, written anew on torch's own attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .saved_models import WORDS

VISION, TEXT, DIM, LENGTH, SIDE, PATCH = 160, 128, 24, 12, 28, 14  # two heads each: of 80, of 64


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 3 * width))
        self.mlp.add_module("gelu", nn.GELU())
        self.mlp.add_module("c_proj", nn.Linear(3 * width, width))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, VISION, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(VISION))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, VISION))
        self.ln_pre, self.ln_post = nn.LayerNorm(VISION), nn.LayerNorm(VISION)
        self.transformer = Transformer(VISION)
        self.proj = nn.Parameter(torch.randn(VISION, DIM))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(tokens))[:, 0]) @ self.proj


class OpenCLIP(nn.Module):
    def __init__(self, words: int = 4 + len(WORDS)) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(words, TEXT)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, TEXT))
        self.transformer = Transformer(TEXT)
        self.ln_final = nn.LayerNorm(TEXT)
        self.text_projection = nn.Parameter(torch.randn(TEXT, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.visual = Visual()
        self.register_buffer("attn_mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))

    def text(self, tokens: Tensor, end: int = 3) -> Tensor:
        """As theirs: padded with zeros to the whole length, read off at the prompt's end."""
        tokens = nn.functional.pad(tokens, (0, LENGTH - tokens.shape[1]))
        x = self.ln_final(self.transformer(self.token_embedding(tokens) + self.positional_embedding, self.attn_mask))
        return x[torch.arange(len(x)), (tokens == end).int().argmax(1)] @ self.text_projection
