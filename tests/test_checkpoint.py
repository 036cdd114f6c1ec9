"""Checkpoints are whole or not there, and say so when a byte is wrong."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from flipbook import checkpoint
from flipbook.checkpoint import (
    CheckpointCorrupt,
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    load_newest,
    save_checkpoint,
    verify_checkpoint,
)


def save(root, step, keep=2):
    return save_checkpoint(root, step, {"model": {"w": torch.full((3, 4), float(step))}}, {"note": step}, keep)


def flip_a_byte(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_what_is_saved_comes_back_bit_for_bit_whatever_its_layout(tmp_path):
    tensors = {"w": torch.randn(4, 3).T, "b": torch.randn(5).bfloat16(), "n": torch.tensor(7)}
    folder = save_checkpoint(tmp_path, 12, {"model": tensors}, {"meter": {"loss": 0.1}})
    back = load_checkpoint(folder)
    assert (folder.name, back.step, back.state) == ("checkpoint-000012", 12, {"meter": {"loss": 0.1}})
    assert all(torch.equal(back.tensors["model"][name], tensor) for name, tensor in tensors.items())


def test_the_last_ones_are_kept(tmp_path):
    for step in range(5):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["checkpoint-000003", "checkpoint-000004"]


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
def test_a_flipped_byte_is_named_and_the_checkpoint_before_it_is_used(tmp_path, name):
    for step in (1, 2):
        save(tmp_path, step)
    flip_a_byte(tmp_path / "checkpoint-000002" / name, at=0)
    with pytest.raises(CheckpointCorrupt, match=name):
        verify_checkpoint(tmp_path / "checkpoint-000002")
    with pytest.warns(UserWarning, match=f"{name}.*before it"):
        assert load_newest(tmp_path).step == 1


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_missing_file_is_named(tmp_path, name):
    (save(tmp_path, 1) / name).unlink()
    with pytest.raises(CheckpointCorrupt, match=name):
        load_checkpoint(tmp_path / "checkpoint-000001")


def test_with_nothing_whole_left_loading_says_so_and_with_nothing_at_all_it_gives_none(tmp_path):
    assert load_newest(tmp_path / "nowhere") is None
    flip_a_byte(save(tmp_path, 1) / "model.safetensors")
    with pytest.warns(UserWarning, match="safetensors"), pytest.raises(CheckpointCorrupt, match="No whole checkpoint"):
        load_newest(tmp_path)


def test_a_corrupt_future_does_not_push_out_the_good_past(tmp_path):
    """After falling back from 3 to 1, saving 2 with keep=1 must leave 2, not the corrupt 3."""
    for step in (1, 3):
        save(tmp_path, step)
    flip_a_byte(tmp_path / "checkpoint-000003" / "model.safetensors")
    save(tmp_path, 2, keep=1)
    assert names(tmp_path) == ["checkpoint-000002"]
    assert load_newest(tmp_path).step == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_and_the_previous_checkpoint_stays_good(tmp_path, monkeypatch, error):
    save(tmp_path, 1)

    def fail_half_way(tensors, path):
        Path(path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", fail_half_way)
    with pytest.raises(CheckpointError, match=r"disk is full.*checkpoint-000001 stays as it was"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["checkpoint-000001"]
    assert load_newest(tmp_path).step == 1


def test_a_disk_without_room_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(CheckpointError, match="disk is full"):
        save(tmp_path, 1)
    assert names(tmp_path) == []


@pytest.mark.parametrize("replaces_before_the_end", [0, 1, 2])
def test_a_crash_between_any_two_renames_leaves_a_whole_checkpoint(tmp_path, monkeypatch, replaces_before_the_end):
    save(tmp_path, 1)
    calls = iter(range(100))
    real = os.replace

    def replace(a, b):
        if next(calls) == replaces_before_the_end:
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(checkpoint.os, "replace", replace)
    for step in (2, 3, 4):
        try:
            save(tmp_path, step, keep=1)
        except KeyboardInterrupt:
            break
    monkeypatch.undo()
    assert load_newest(tmp_path).step in (step - 1, step)
    save(tmp_path, 9, keep=1)
    assert names(tmp_path) == ["checkpoint-000009"]


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from flipbook.checkpoint import list_checkpoints, save_checkpoint

def save_for_ever(root):
    for step in range(1, 10**6):
        save_checkpoint(root, step, {"model": {"w": torch.full((200_000,), float(step))}}, {"note": step})

torch.set_num_threads(1)
chance = random.Random(0)
for trial in range(50):
    root = Path(sys.argv[1]) / f"{trial:02d}"
    child = os.fork()
    if child == 0:
        save_for_ever(root)
    while not list_checkpoints(root):
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the saver ended by itself"
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_fifty_kills_at_random_moments_of_saving_leave_a_valid_checkpoint_each_time(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", KILLER, str(tmp_path)], env=environment, check=True, timeout=300)
    roots = sorted(tmp_path.iterdir())
    assert len(roots) == 50
    for root in roots:
        for folder in list_checkpoints(root):
            verify_checkpoint(folder)
        newest = load_newest(root)
        assert (newest.tensors["model"]["w"] == newest.step).all()
    assert sum(any(path.name.startswith(".") for path in root.iterdir()) for root in roots) > 5  # killed while saving
