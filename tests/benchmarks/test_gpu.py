"""``bench gpu`` on a processor, at tiny size: its parts, its tables, and going on where it was stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from sgool.benchmarks import gpu
from sgool.benchmarks.__main__ import main
from sgool.benchmarks.common import gradient_parts, real_sizes
from sgool.benchmarks.common.jobs import Job, Store


@pytest.mark.comfyui
def test_a_part_at_tiny_size_and_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["gpu", "--folder", str(tmp_path), "--small", "--repeats", "1"]
    main([*run, "--part", "costs, Flux, bf16"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["each block as well"]["F"] > found["forward"]["F"] == 1.0
    assert found["everything kept"]["GiB"] > found["dearest outputs kept"]["GiB"] > found["each call checkpointed"]["GiB"]
    assert 0.95 < found["cosine to fp32"] <= 1.0
    Store(tmp_path, {"small": True}).add(Job(0, 0, (), "costs, Flux, bf16"), {"found": found})
    main([*run, "--only", "costs, Flux, bf16", "--minutes", "0"])  # no time for anything: what is there is shown
    assert "| Flux, bf16 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "plot.png").stat().st_size > 5000
    assert "| Flux, bf16 |" in capsys.readouterr().out


def test_what_went_wrong_in_a_part_is_its_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    part = gpu.parts()[0]
    failed = gpu.run_apart(part, gpu.argparse.Namespace(repeats=1, small=True), 9.0)
    assert "status 1" in failed["failed"]
    assert failed["failed"] in gpu.report([{"method": part.name, **failed}])


def test_names_of_parts_are_different() -> None:
    assert len({part.name for part in gpu.parts()}) == len(gpu.parts())


@pytest.mark.comfyui
def test_the_transcribed_procedures_gradient_is_that_of_stored_steps() -> None:
    noise = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = torch.tensor([3.0, 1.5, 0.5], dtype=torch.float64)
    weights = torch.randn(noise.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def denoised(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) / (1 + sigma)

    def run(x: torch.Tensor) -> torch.Tensor:
        return gradient_parts.edict(x, sigmas, denoised)

    own = gradient_parts.gradient(run, noise, weights)
    direction = own / own.norm()
    slope = ((run(noise + 1e-5 * direction) - run(noise - 1e-5 * direction)) * weights).sum() / 2e-5
    assert float(slope) == pytest.approx(float(own.norm()), rel=1e-7)


@pytest.mark.comfyui
def test_real_sizes_have_the_published_numbers_of_weights() -> None:
    found = {}
    for title in real_sizes.REAL:
        network = real_sizes.real_model(title, "bf16", torch.device("meta")).model.diffusion_model
        found[title] = sum(parameter.numel() for parameter in network.parameters()) / 1e9
    published = {"SD 1.5": 0.86, "SDXL": 2.57, "SD 3.5 medium": 2.24, "Z-Image": 6.15, "Flux": 11.9}  # SD 3's positions are a buffer
    assert found == pytest.approx(published, rel=0.01)


@pytest.mark.comfyui
def test_beside_the_published_procedure_each_round_is_compared_with_itself() -> None:
    with torch.inference_mode():
        found = gradient_parts.beside_doodl(gradient_parts.Case("SD 1.5", "fp32", small=True, repeats=3, latent=8))
    ours, plain = (found["rounds"][name] for name in ("everything kept", "plain autograd"))
    ratios = sorted(one / other for one, other in zip(ours, plain, strict=True))
    own = found["the mode's own"]
    assert [own["of plain autograd's"], *own["range"]] == pytest.approx([ratios[1], ratios[0], ratios[2]], rel=0.05)
    assert set(found["of DOODL's"]) == set(gradient_parts.VARIANTS)
