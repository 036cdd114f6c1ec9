"""Latents on disk: found by content alone, so never stale; whole or not there; and training does not see the difference."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from replicas import clip
from torch import nn

from flipbook.data.batch import collate
from flipbook.data.cache import CachedEncoders, Store, weights_hash
from flipbook.data.framing import Framing
from flipbook.data.sources import build_stream
from flipbook.objectives.base import OBJECTIVES, Losses
from flipbook.train import train
from train_toy import Toy, toy_recipe, weights

FRAMING = Framing(num_frames=4, clip_frames=4, height=16, width=16)


class Encoder(nn.Module):
    """Means of 4 x 4 blocks under one frozen weight. Counts what it is asked to encode."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]), requires_grad=False)
        self.calls = 0

    def encode(self, x):
        self.calls += len(x)
        return nn.functional.avg_pool3d(x, (1, 4, 4)) * self.weight


class Words(nn.Module):
    """One row per word: its length. Frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(2), requires_grad=False)
        self.calls = 0

    def encode(self, texts):
        self.calls += len(texts)
        rows = [[float(len(w)) for w in t.split()] or [0.0] for t in texts]
        length = max(map(len, rows))
        padded = torch.tensor([r + [9.0] * (length - len(r)) for r in rows])
        return padded[..., None] * self.one, torch.tensor([[True] * len(r) + [False] * (length - len(r)) for r in rows])


class System:
    def __init__(self) -> None:
        self.autoencoder, self.text_encoder = Encoder(), Words()


class Latent(Toy):
    """The toy on latents, through a system, as real objectives do it."""

    def __init__(self, options=None) -> None:
        super().__init__()
        self.system = System()

    def loss(self, batch, seeds, *, t=None):
        z = self.system.autoencoder.encode(batch.video).float()
        rows, mask = self.system.text_encoder.encode(batch.captions)
        words = (rows[..., 0] * mask).sum(1)
        x = torch.cat([z.mean((2, 3, 4)), z.std((2, 3, 4)), z.amax((2, 3, 4)), z.amin((2, 3, 4))], 1)
        return Losses(loss=(self.parts["net"](x) - words[:, None] / 10).square().mean(1))


@pytest.fixture
def clips(tmp_path):
    for i in range(3):
        clip(tmp_path / "set" / f"{i}.mkv", 6, 24, 32, first=8 * i).with_suffix(".txt").write_text(f"clip number {i}")
    return tmp_path / "set"


def cached(system, folder, variants=2, dtype="fp32"):
    return CachedEncoders(system, folder, variants, dtype)


def stream(folder, cache=None):
    return build_stream([{"folder": str(folder), "min_scale": 0.7}], FRAMING, seed=0, cached=cache.keys if cache else None)


def test_what_was_encoded_once_is_neither_decoded_nor_encoded_again_and_is_the_same(clips, tmp_path):
    system = System()
    cache = cached(system, tmp_path / "cache")
    first = collate([stream(clips, cache).sample(k) for k in range(6)])
    with cache.serving(first):
        made = system.autoencoder.encode(first.video)
    calls = system.autoencoder.calls
    again = collate([stream(clips, cache).sample(k) for k in range(6)])
    assert torch.isnan(again.video).all()  # nobody decoded
    assert again.video.shape == first.video.shape
    with cache.serving(again):
        assert torch.equal(system.autoencoder.encode(again.video), made)
    assert system.autoencoder.calls == calls <= 6
    assert torch.equal(made, Encoder().encode(first.video))


def test_a_half_filled_cache_gives_the_same_batch(clips, tmp_path):
    system = System()
    cache = cached(system, tmp_path / "cache", dtype="fp16")
    two = collate([stream(clips, cache).sample(k) for k in range(2)])
    with cache.serving(two):
        pass
    mixed = collate([stream(clips, cache).sample(k) for k in range(6)])
    fresh = cached(System(), tmp_path / "other", dtype="fp16")
    whole = collate([stream(clips, fresh).sample(k) for k in range(6)])
    assert any(z is not None for z in mixed.latents)
    assert any(z is None for z in mixed.latents)
    assert torch.equal(cache.latents(mixed), fresh.latents(whole))


def test_a_clip_that_comes_twice_before_it_is_written_is_encoded_once(clips, tmp_path):
    """Workers run ahead of what is written. A network may round otherwise at its second turn: what was stored counts."""
    system = System()
    cache = cached(system, tmp_path / "cache", variants=1)
    sample = stream(clips, cache).sample(0)
    batches = [collate([sample, sample]), collate([sample])]
    made = []
    for batch in batches:
        with torch.no_grad():
            made.append(cache.latents(batch))
            system.autoencoder.weight.add_(1e-3)
    kept = cache.latents(collate([stream(clips, cache).sample(0)]))
    assert system.autoencoder.calls == 1
    assert all(torch.equal(z, kept[0]) for part in made for z in part)


def test_a_clip_lies_in_memory_alike_whether_or_not_its_neighbour_was_found(clips, tmp_path):
    """Convolutions choose their order of sums by strides, so another layout would be another latent."""
    cache = cached(System(), tmp_path / "cache")
    fresh = [stream(clips, cache).sample(k) for k in range(3)]
    cache.latents(collate(fresh[:1]))
    mixed, whole = collate([stream(clips, cache).sample(0), fresh[1]]).video, collate(fresh[:2]).video
    assert mixed[0].isnan().all()
    assert torch.equal(mixed[1], whole[1])
    assert mixed.stride() == whole.stride()


def test_another_file_crop_size_weight_or_type_is_another_key(clips, tmp_path):
    def keys(system=None, framing=FRAMING, dtype="fp32", **options):
        cache = cached(system or System(), tmp_path / "cache", dtype=dtype)
        source = build_stream([{"folder": str(clips), **options}], framing, seed=0, cached=cache.keys)
        return {source.sample(k).key for k in range(30)}

    usual = keys()
    assert keys() == usual
    other = System()
    other.autoencoder.weight.data += 1e-7
    with torch.no_grad():
        nudged = keys(other)
    for different in (
        nudged, keys(dtype="fp16"), keys(min_scale=0.5), keys(stride=1, fps=4.0, framing=Framing(num_frames=2, clip_frames=2)),
        keys(framing=Framing(num_frames=4, clip_frames=4, height=8, width=8)),
    ):  # fmt: skip
        assert not usual & different
    status = (clips / "0.mkv").stat()
    clip(clips / "0.mkv", 6, 24, 32, first=99)
    os.utime(clips / "0.mkv", ns=(status.st_atime_ns, status.st_mtime_ns))  # a new file under an old date
    changed = keys()
    assert usual & changed  # of the other two files
    assert changed - usual


def test_a_variant_comes_again_and_there_are_as_many_as_were_asked_for(clips, tmp_path):
    source = stream(clips, cached(System(), tmp_path / "cache", variants=3))
    assert len({source.sample(k).key for k in range(200)}) == 9


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"", lambda b: b[:40] + b"x" + b[41:], lambda b: b[:20]])
def test_an_entry_that_is_not_whole_is_made_again(tmp_path, damage):
    store = Store(tmp_path)
    store.put("ab12", {"latent": torch.arange(5.0)})
    path = store.path("ab12")
    path.write_bytes(damage(path.read_bytes()))
    assert store.get("ab12") is None
    assert not path.exists()
    store.put("ab12", {"latent": torch.arange(5.0)})
    assert torch.equal(store.get("ab12")["latent"], torch.arange(5.0))


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_only_whole_entries(tmp_path):
    program = (
        "import torch, sys\nfrom pathlib import Path\nfrom flipbook.data.cache import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for i in range(100000):\n"
        "    store.put(f'{i:08d}', {'z': torch.full((50000,), float(i))})\n"
        "    if i == 0: print('here', flush=True)\n"
    )
    home = str(Path(__file__).parents[2] / "src")
    for wait in (0.02, 0.05, 0.11):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], env={**os.environ, "PYTHONPATH": home}, stdout=subprocess.PIPE
        )
        process.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(wait)
        process.kill()
        process.wait()
        process.stdout.close()
        entries = [path for path in tmp_path.rglob("*.entry") if not path.name.startswith(".")]  # less one that was being written
        assert entries
        for path in entries:
            key = path.parent.name + path.stem
            assert Store(tmp_path).get(key)["z"][0] == int(key)


def test_text_is_encoded_once_per_sentence_whatever_its_batch(tmp_path):
    system = System()
    cache = cached(system, tmp_path)
    rows, mask = cache.text(["a red circle", "", "a red circle"])
    assert system.text_encoder.calls == 2
    plain, plain_mask = Words().encode(["a red circle", "", "a red circle"])
    assert torch.equal(mask, plain_mask)
    assert torch.equal(rows * mask[..., None], plain * mask[..., None])
    again = cached(System(), tmp_path)
    again._encode_text = None  # all of it is on disk
    assert torch.equal(again.text(["a red circle", "", "a red circle"])[0], rows)


def test_the_encoder_is_its_own_again_after_serving(clips, tmp_path):
    system = System()
    cache = cached(system, tmp_path / "cache")
    batch = collate([stream(clips, cache).sample(0)])
    with cache.serving(batch):
        assert "encode" in vars(system.autoencoder)
    assert "encode" not in vars(system.autoencoder)
    assert weights_hash(system.autoencoder) == weights_hash(Encoder())


@pytest.mark.filterwarnings("ignore:.*validation looks at training clips")
def test_training_is_the_same_with_an_empty_a_full_and_a_half_lost_cache(clips, tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(OBJECTIVES, "toy", lambda system, options: made.append(Latent()) or made[-1])

    def run(name, **changes):
        plan = {"data": [{"folder": str(clips)}], "num_frames": 4, "clip_frames": 4, "height": 16, "width": 16}
        torch.manual_seed(0)
        train(toy_recipe(tmp_path / name, **plan, cache={"folder": str(tmp_path / "cache"), "dtype": "fp32"}, **changes))
        return weights(tmp_path / name)

    first, second = run("first"), run("second")
    entries = sorted((tmp_path / "cache").rglob("*.entry"))
    for path in entries[::2]:
        path.write_bytes(path.read_bytes()[:50])
    third = run("third")
    assert all(torch.equal(first[n], second[n]) and torch.equal(first[n], third[n]) for n in first)
    assert made[0].system.autoencoder.calls > made[1].system.autoencoder.calls


def test_a_cache_before_an_encoder_that_learns_is_refused(tmp_path):
    system = System()
    system.autoencoder.weight.requires_grad_(True)
    with pytest.raises(ValueError, match="the autoencoder is being trained"):
        cached(system, tmp_path)
    with pytest.raises(ValueError, match="no system with an autoencoder"):
        cached(None, tmp_path)


def test_a_file_damaged_in_the_middle_is_replaced_by_the_next_clip_in_every_run_alike(clips):
    from footage import encode

    noise = np.random.default_rng(0).integers(0, 256, (12, 24, 32, 3), dtype=np.uint8)
    path = encode(clips / "0.mkv", noise, codec="ffv1", pixel_format="bgr0", slicecrc="1")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(bytes(data))
    runs = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            source = build_stream([{"folder": str(clips), "memory_mb": 0}], Framing(num_frames=6, clip_frames=6, height=16, width=16), seed=0)
            runs.append([source.sample(k).caption for k in range(6)])
        assert all("left out" in str(w.message) for w in told)
    assert runs[0] == runs[1]
