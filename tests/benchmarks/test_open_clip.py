"""A CLIP with open_clip's names, written anew here on torch's own attention, against transformers' CLIP with the converted weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from sgool.benchmarks.real.open_clip import make_folder, to_transformers
from sgool.harness.pack import ROOT
from sgool.harness.problems import SetupProblem
from sgool.rewards.encoder_files import load_encoder
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, DIM, WORDS, LENGTH, SIDE, PATCH = 32, 2, 2, 24, 20, 12, 32, 8


class QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(WIDTH, 48))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(48, WIDTH))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block() for _ in range(LAYERS))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(WIDTH))
        self.positional_embedding = nn.Parameter(torch.randn((SIDE // PATCH) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = Transformer()
        self.proj = nn.Parameter(torch.randn(WIDTH, DIM))

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_embedding.expand(len(pixels), 1, -1), patches], 1) + self.positional_embedding
        return self.ln_post(self.transformer(self.ln_pre(tokens))[:, 0]) @ self.proj


class OpenCLIP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(WORDS, WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.transformer = Transformer()
        self.ln_final = nn.LayerNorm(WIDTH)
        self.text_projection = nn.Parameter(torch.randn(WIDTH, DIM))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.visual = Visual()
        self.register_buffer("attn_mask", torch.full((LENGTH, LENGTH), float("-inf")).triu(1))

    def text(self, tokens: Tensor, end: Tensor) -> Tensor:
        length = tokens.shape[1]
        x = self.token_embedding(tokens) + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, self.attn_mask[:length, :length]))
        return x[torch.arange(len(x)), end] @ self.text_projection


def saved_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_saved_models", ROOT / "tests" / "rewards" / "saved_models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def like(tmp_path: Path) -> Path:
    folder = tmp_path / "like"
    saved_models().save_clip(folder)
    return folder


@pytest.fixture
def original() -> OpenCLIP:
    torch.manual_seed(0)
    return OpenCLIP().eval()


def test_the_converted_model_gives_the_same_vectors(original: OpenCLIP, like: Path, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in original.state_dict().items()}}, tmp_path / "hps.pt")
    make_folder(tmp_path / "hps.pt", like, tmp_path / "made")
    encoder = load_encoder(tmp_path / "made")
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    prompts = ["a red circle", "blue square left of the cat"]
    tokens = encoder.tokenizer(prompts, padding=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        image = nn.functional.normalize(original.visual(encoder.preprocessing(images)), dim=-1)
        text = nn.functional.normalize(original.text(tokens, (tokens == 3).int().argmax(1)), dim=-1)
        torch.testing.assert_close(encoder.encode_image(images), image, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(encoder.encode_text(prompts), text, atol=1e-5, rtol=1e-5)
    assert abs(float((image[0] * image[1]).sum())) < 0.999  # vectors that are all alike would prove nothing


def test_every_tensor_but_the_mask_has_a_place(original: OpenCLIP) -> None:
    state = original.state_dict()
    merged = 2 * LAYERS * 2  # query, key and value are one weight and one bias in each layer of each tower
    assert len(to_transformers(state)) == len(state) - 1 + 2 * merged


def test_other_models_and_other_files_are_refused(original: OpenCLIP, like: Path, tmp_path: Path) -> None:
    state = original.state_dict()
    torch.save({**state, "visual.proj": torch.zeros(WIDTH, 99)}, tmp_path / "wide.pt")
    with pytest.raises(SetupProblem, match=r"1 of \d+ tensors differ, the first is visual_projection.weight, \(99, 32\) for \(24, 32\)"):
        make_folder(tmp_path / "wide.pt", like, tmp_path / "made")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(SetupProblem, match="cannot be read as weights alone"):
        make_folder(tmp_path / "text.pt", like, tmp_path / "made")
    with pytest.raises(SetupProblem, match=r"has no model.safetensors"):
        make_folder(tmp_path / "wide.pt", tmp_path, tmp_path / "made")
    assert not (tmp_path / "made").exists()


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this must not run",)


def test_code_in_a_file_is_not_run(like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(SetupProblem, match="cannot be read as weights alone"):
        make_folder(tmp_path / "trap.pt", like, tmp_path / "made")
    assert capsys.readouterr().out == ""
