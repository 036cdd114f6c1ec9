"""Model folders: what is written is what is read, in the public layout, and anything else is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flipbook import systems
from flipbook.generate import generate
from flipbook.interop.folder import card_hash, describe, from_pretrained, model_folder, save_pretrained, weights_hash
from flipbook.interop.registry import CLASSES, from_config, to_config
from flipbook.process.path import EDM
from flipbook.process.process import Process
from flipbook.process.vp import VP
from tiny import tiny_system

WEIGHTS = "denoiser/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_pretrained(tiny_system(), tmp_path / "model")


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_gives_back_the_system(folder):
    before, after = tiny_system(), from_pretrained(folder)
    assert weights_hash(after) == weights_hash(before)
    assert (after.name, after.process, after.defaults, after.card) == (
        before.name,
        before.process,
        before.defaults,
        before.card,
    )
    (a,), (b,) = (generate(system, "a red circle falls", dtype="float32") for system in (before, after))
    assert a.frames.tobytes() == b.frames.tobytes()
    assert a.recipe == b.recipe


def test_the_layout_is_that_of_diffusers(folder):
    index = json.loads((folder / "model_index.json").read_text())
    assert index["_class_name"] == "System"
    for sub, name in (
        ("denoiser", "DiT"),
        ("vae", "FrameAutoencoder"),
        ("text_encoder", "WordEncoder"),
        ("scheduler", "Process"),
    ):
        assert index[sub] == ["flipbook", name]
    assert json.loads((folder / "denoiser/config.json").read_text())["_class_name"] == "DiT"
    assert (folder / "scheduler/scheduler_config.json").is_file()
    keys = load_file(folder / WEIGHTS).keys()
    assert keys == tiny_system().denoiser.state_dict().keys()


def test_loading_draws_no_random_numbers(folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    from_pretrained(folder)
    assert torch.equal(torch.rand(2), expected)


def test_half_precision_halves_the_file_and_keeps_the_latent_statistics(tmp_path):
    system = tiny_system()
    system.autoencoder.latent_mean.fill_(0.1)  # no bf16 number
    full, half = (
        save_pretrained(system, tmp_path / "full"),
        save_pretrained(system, tmp_path / "half", dtype=torch.bfloat16),
    )
    assert (half / WEIGHTS).stat().st_size < 0.6 * (full / WEIGHTS).stat().st_size
    again = from_pretrained(half)
    assert torch.equal(again.autoencoder.latent_mean, system.autoencoder.latent_mean)
    assert {p.dtype for p in again.denoiser.parameters()} == {torch.float32}
    assert all(
        torch.equal(b, a.bfloat16().float())
        for a, b in zip(system.denoiser.parameters(), again.denoiser.parameters(), strict=True)
    )
    twice = save_pretrained(again, tmp_path / "twice")
    assert weights_hash(from_pretrained(twice)) == weights_hash(again)  # the fingerprint is of values, not of storage


def test_the_fingerprint_sees_one_changed_weight():
    system = tiny_system()
    before = weights_hash(system)
    system.denoiser.blocks[0].mlp[0].weight[0, 0] += 1e-6
    assert weights_hash(system) != before


def test_missing_left_over_and_misshapen_weights_are_all_listed(folder):
    weights = load_file(folder / WEIGHTS)
    weights["stranger"] = weights.pop("head.weight")
    weights["embed.bias"] = torch.zeros(3)
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(ValueError, match="does not fit") as error:
        from_pretrained(folder)
    assert "1 missing: head.weight" in str(error.value)
    assert "1 not used: stranger" in str(error.value)
    assert "1 of another shape: embed.bias (3,), not (32,)" in str(error.value)


def test_a_class_is_looked_up_and_never_imported(folder):
    change(folder / "denoiser/config.json", _class_name="os.system")
    with pytest.raises(ValueError, match=r"class 'os.system' is not known"):
        from_pretrained(folder)


def test_an_unknown_field_names_the_nearest(folder):
    change(folder / "denoiser/config.json", num_head=2)
    with pytest.raises(ValueError, match=r"no field 'num_head'. Did you mean 'num_heads'"):
        from_pretrained(folder)


@pytest.mark.parametrize("path", ["model_index.json", "vae/config.json", WEIGHTS, "scheduler/scheduler_config.json"])
def test_missing_and_damaged_files_are_named(folder, path):
    original = (folder / path).read_bytes()
    (folder / path).write_bytes(original[: len(original) // 2])
    with pytest.raises(ValueError, match=Path(path).name):
        from_pretrained(folder)
    (folder / path).unlink()
    with pytest.raises(ValueError, match=f"{Path(path).name} is missing"):
        from_pretrained(folder)


def test_saving_again_replaces_the_folder_whole(folder):
    (folder / "leftover.txt").write_text("old")
    other = tiny_system(seed=1)
    assert save_pretrained(other, folder) == folder
    assert weights_hash(from_pretrained(folder)) == weights_hash(other)
    assert [p.name for p in folder.parent.iterdir()] == ["model"]
    assert not (folder / "leftover.txt").exists()


def test_a_failed_save_leaves_the_old_model(folder, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("flipbook.interop.folder.save_file", lambda *a, **k: fail())
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(tiny_system(seed=1), folder)
    assert weights_hash(from_pretrained(folder)) == weights_hash(tiny_system())
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_folder_of_other_things_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="not a model folder"):
        save_pretrained(tiny_system(), tmp_path)
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_description_needs_no_weights_in_memory(folder):
    told, system = describe(folder), tiny_system()
    assert told["parameters"] == sum(v.numel() for part in system.parts.values() for v in part.state_dict().values())
    assert told["parts"]["denoiser"]["class"] == "DiT"
    assert told["parts"]["denoiser"]["dtypes"] == ["F32"]
    assert told["process"] == to_config(system.process)
    assert told["card"] == system.card


def test_models_are_found_by_folder_or_shipped_name(folder, tmp_path, monkeypatch):
    assert model_folder(folder) == folder
    shutil.copytree(folder, tmp_path / "weights" / "thumb")
    monkeypatch.setattr("flipbook.interop.folder.SHIPPED", tmp_path / "weights")
    assert model_folder("thumb") == tmp_path / "weights" / "thumb"
    with pytest.raises(ValueError, match="Did you mean 'thumb'"):
        model_folder("thum")
    with pytest.raises(ValueError, match="not a model folder"):
        model_folder(tmp_path)
    monkeypatch.setattr("flipbook.interop.folder.SHIPPED", tmp_path / "empty")
    with pytest.raises(ValueError, match="carries no weights"):
        model_folder("thumb")


@pytest.mark.parametrize("process", [Process(EDM(), "edm", sigma_data=0.5), Process(VP(schedule="cosine"), "v")])
def test_every_process_survives_json(process):
    assert from_config(json.loads(json.dumps(to_config(process))), "here") == process


def test_every_registered_class_is_there():
    from importlib import import_module

    for name, module in CLASSES.items():
        assert hasattr(import_module(module), name)


def test_the_hash_of_a_card_ignores_its_layout():
    assert card_hash({"a": 1, "b": [2]}) == card_hash({"b": [2], "a": 1}) != card_hash({"a": 1, "b": [3]})


def test_systems_are_built_by_name_with_changes_level_by_level():
    system = systems.build("thumb", tiny=True, denoiser={"depth": 3}, shift=2.0)
    assert len(system.denoiser.blocks) == 3
    assert system.process.path.shift == 2.0
    with pytest.raises(ValueError, match=r"no field denoiser.dept. Did you mean 'depth'"):
        systems.build("thumb", tiny=True, denoiser={"dept": 3})
    with pytest.raises(ValueError, match="Did you mean 'thumb'"):
        systems.build("thum")
