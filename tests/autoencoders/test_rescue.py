"""A decoder that fails loses nothing: the latents are on disk, and the same video comes from them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from flipbook.autoencoders.rescue import kept_while_decoding, read_latents
from flipbook.autoencoders.tiling import OutOfMemory
from flipbook.generate import finish, generate
from tiny import tiny_system


class Failing(torch.nn.Module):
    """An autoencoder without memory for a single frame."""

    stride = 8

    def decode(self, z):
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_failed_decode_leaves_latents_that_finish_to_the_same_video(tmp_path):
    whole, system = tiny_system(), tiny_system()
    settings = {"seed": 5, "num_videos": 2, "batch_size": 2, "dtype": "float32", "num_inference_steps": 2}
    expected = generate(whole, "a red circle falls", **settings)
    system.autoencoder = Failing()
    with pytest.raises(OutOfMemory, match="Try tile=64") as error:
        generate(system, "a red circle falls", keep_latents=tmp_path / "out", **settings)
    path = tmp_path / "out-5.latents.safetensors"
    assert path.is_file()
    assert f"finish(model.system, '{path}')" in error.value.__notes__[0]
    made = finish(whole, path)
    assert [video.frames.tobytes() for video in made] == [video.frames.tobytes() for video in expected]
    assert [video.recipe["seed"] for video in made] == [5, 6]
    same = [{**video.recipe, "model": 0} for video in made]       # the failing model has no weights of an autoencoder in its fingerprint
    assert same == [{**video.recipe, "model": 0} for video in expected]


def test_chunks_finish_to_the_same_video(tmp_path):
    z, recipes = torch.randn(1, 4, 4, 4, 4, generator=torch.Generator().manual_seed(0)), [{"settings": {"fps": 8.0}}]
    with pytest.raises(KeyboardInterrupt), kept_while_decoding(tmp_path / "a.latents.safetensors", z, recipes):
        raise KeyboardInterrupt
    whole, parts = (finish(tiny_system(), tmp_path / "a.latents.safetensors", chunk=chunk)[0].frames for chunk in (None, 1))
    assert abs(whole.astype(int) - parts.astype(int)).max() <= 1


def test_a_video_that_is_made_leaves_no_latents(tmp_path):
    generate(tiny_system(), "a red circle", keep_latents=tmp_path / "out", num_inference_steps=1)
    assert list(tmp_path.iterdir()) == []


def test_latents_are_on_disk_before_the_decoder_starts(tmp_path):
    path, z = tmp_path / "x.latents.safetensors", torch.ones(1, 4, 1, 2, 2)
    with kept_while_decoding(path, z, [{"seed": 1}]):
        found, recipes = read_latents(path)
        assert torch.equal(found, z)
        assert recipes == [{"seed": 1}]
    assert not path.exists()


def test_other_files_are_refused(tmp_path):
    save_file({"z": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no latents of flipbook"):
        read_latents(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="does not exist"):
        read_latents(tmp_path / "gone.latents.safetensors")
