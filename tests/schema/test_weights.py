"""Weights files that are wrong in the ways files go wrong: each gets a sentence with the way out, none runs code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from sgool.schema.weights import WeightsError, build_with_weights, read_state_dict, weight_shapes, working_dtype
from torch import nn

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


def test_reads_both_formats(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "one.pth")
    save_file(STATE, tmp_path / "two.safetensors")
    for name in ("one.pth", "two.safetensors"):
        state = read_state_dict(tmp_path / name)
        assert set(state) == set(STATE)
        assert torch.equal(state["a.weight"], STATE["a.weight"])


def test_reads_the_format_of_old_pytorch(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_state_dict(tmp_path / "old.pth")["a.weight"], STATE["a.weight"])


def test_safetensors_come_first(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "model.pth")
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    assert read_state_dict(tmp_path / "model.pth")["a"].item() == 1


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "student_model"])
def test_unwraps(tmp_path: Path, wrapper: str) -> None:
    torch.save({wrapper: {f"module.{key}": value for key, value in STATE.items()}, "epoch": 3}, tmp_path / "wrapped.pth")
    assert list(read_state_dict(tmp_path / "wrapped.pth")) == list(STATE)


class Trap:
    """A pickle that would make a folder when loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1), "trap": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    for name in ("trap.pth", "bare.pth"):
        with pytest.raises(WeightsError, match=rf"{name} holds more than tensors: loading it could run code .*mkdir"):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncated_checkpoints(tmp_path: Path, new: bool, keep: float) -> None:
    whole = tmp_path / "whole.pth"
    torch.save({"a": torch.zeros(1000), "b": torch.zeros(1000)}, whole, _use_new_zipfile_serialization=new)
    data = whole.read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(WeightsError, match=r"cut.pth .*[Dd]ownload it again"):
        read_state_dict(tmp_path / "cut.pth")


def test_truncated_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-100])
    with pytest.raises(WeightsError, match=r"cut.safetensors is not a whole safetensors file.*Download it again"):
        read_state_dict(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: its download failed"),
        (b"<!DOCTYPE html><html>Virus scan warning</html>", "is a web page, not a weights file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a Git LFS pointer"),
        (b"not a checkpoint at all, only words", "[Dd]ownload it again"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=words):
        read_state_dict(tmp_path / "weights.pth")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file at .*nowhere.pth"):
        read_state_dict(tmp_path / "nowhere.pth")


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="not a dictionary of named weights"):
        read_state_dict(tmp_path / "list.pth")


def test_building_takes_the_tensors_as_they_are() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))

    state = {key: value.half() if value.is_floating_point() else value for key, value in make().state_dict().items()}
    del state["1.num_batches_tracked"]
    model = build_with_weights(make, state)
    assert model[0].weight.data_ptr() == state["0.weight"].data_ptr()  # type: ignore[index, union-attr]
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert working_dtype(model, torch.zeros(1)) == torch.float16
    with pytest.raises(WeightsError, match="not the weights of 'Sequential'"):
        build_with_weights(make, {"0.weight": torch.zeros(2, 3)})


@pytest.mark.parametrize("name", ["one.pth", "two.safetensors", "old.pth"])
def test_shapes_are_known_without_the_weights(tmp_path: Path, name: str) -> None:
    if name.endswith("safetensors"):
        save_file(STATE, tmp_path / name)
    else:
        torch.save({"state_dict": STATE}, tmp_path / name, _use_new_zipfile_serialization=name != "old.pth")
    assert weight_shapes(tmp_path / name) == {"a.weight": (2, 3), "a.bias": (2,)}
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-150])
    assert weight_shapes(tmp_path / name) == {}
