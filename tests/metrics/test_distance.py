"""Distances between sets of clips: what protocols do to clips, which clips they refuse, what a result carries."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from flipbook.metrics.clips import ClipSet, clip_source
from flipbook.metrics.distance import real_floor, set_distance
from flipbook.metrics.extractors import Extractor, build_extractor, extract, torchscript_features
from flipbook.metrics.frechet import frechet_from_features
from flipbook.metrics.measurement import IncomparableNumbers, compare
from flipbook.metrics.protocols import PROTOCOLS, protocol_named
from flipbook.metrics.resize import resize_clips
from flipbook.metrics.torchscript import CodeRefused
from flipbook.video import Video

MEANS = Extractor("mean colour and contrast", "0" * 64, lambda x: torch.cat([x.mean((2, 3, 4)), x.std((2, 3, 4))], 1))
PLAIN = dataclasses.replace(PROTOCOLS["world-features"], name="plain", extractor="given", input_size=None, input_rule=None)


def clips(count=12, seed=0, frames=16, bright=0, size=16):
    rng = np.random.default_rng(seed)
    base = rng.integers(40, 160, (count, 1, 1, 1, 3))
    return list(np.clip(base + rng.integers(-30, 30, (count, frames, size, size, 3)) + bright, 0, 255).astype(np.uint8))


def distance(real, fake, **options):
    return set_distance(real, fake, options.pop("protocol", PLAIN), extractor=options.pop("extractor", MEANS), draws=20, **options)


def test_a_result_carries_value_interval_floor_and_the_whole_protocol():
    m = distance(clips(), clips(seed=1, bright=60), split="test")
    assert 0 < m.floor < m.low < m.value < m.high
    assert {"extractor", "real_clips", "num_real", "num_fake", "num_frames", "source_size", "input_rule", "range", "estimator", "divisor",
            "seed", "real"} <= m.fingerprint.fields.keys()  # fmt: skip


def test_two_models_are_compared_against_the_same_real_clips_and_not_against_others():
    good, bad = distance(clips(), clips(seed=1, bright=5)), distance(clips(), clips(seed=2, bright=90))
    assert compare(good, bad).better == "a"
    with pytest.raises(IncomparableNumbers, match="real_clips"):
        compare(good, distance(clips(seed=3), clips(seed=1)))
    with pytest.raises(IncomparableNumbers, match="num_fake: 12 against 11"):
        compare(good, distance(clips(), clips(11, seed=1)))
    with pytest.raises(IncomparableNumbers, match="extractor"):
        compare(good, distance(clips(), clips(seed=1), extractor=dataclasses.replace(MEANS, sha256="1" * 64)))


def test_the_value_is_the_distance_of_the_features_with_the_protocols_divisor():
    x, y = clips(), clips(seed=1)
    features = [np.stack([MEANS.encode(torch.as_tensor(c).movedim(-1, 0)[None] / 127.5 - 1)[0].numpy() for c in s]) for s in (x, y)]
    for divisor in ("n", "n-1"):
        m = distance(x, y, protocol=dataclasses.replace(PLAIN, divisor=divisor))
        assert m.value == pytest.approx(frechet_from_features(*features, divisor), rel=1e-3)


def test_the_floor_is_between_halves_of_the_real_clips_and_there_is_none_for_three():
    x = np.random.default_rng(0).standard_normal((200, 8))
    assert real_floor(x, frechet_from_features) == pytest.approx((8**2 + 5 * 8) / 200, rel=0.5)
    assert real_floor(x[:3], frechet_from_features) is None


def test_clips_are_known_by_their_frames_and_not_by_name_or_order(tmp_path):
    given = clips(4)
    for i, order in enumerate(([0, 1, 2, 3], [2, 3, 1, 0])):
        (tmp_path / str(i)).mkdir()
        for place, which in enumerate(order):
            Video(given[which], 8.0).write(tmp_path / str(i) / f"{place}.mkv", lossless=True)
    sets = [ClipSet(clip_source(tmp_path / name), PLAIN, "first", None) for name in ("0", "1")]
    assert [len(list(s)) for s in sets] == [4, 4]
    assert sets[0].sha256 == sets[1].sha256
    other = ClipSet(clip_source(clips(4, seed=9)), PLAIN, "first", None)
    assert list(other)
    assert other.sha256 != sets[0].sha256


def test_an_npy_file_and_a_list_are_the_same_clips(tmp_path):
    np.save(tmp_path / "clips.npy", np.stack(clips(4)))
    sets = [ClipSet(clip_source(s), PLAIN, "first", None) for s in (tmp_path / "clips.npy", clips(4))]
    assert all(list(s) for s in sets)
    assert sets[0].sha256 == sets[1].sha256


def test_a_window_is_one_per_clip_at_a_place_of_the_seed_and_with_its_stride():
    numbered = [np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8) for _ in range(30)]
    protocol = dataclasses.replace(PLAIN, num_frames=4, stride=8, real_window="random")
    read = lambda seed: [((c[0, :, 0, 0] + 1) * 127.5).round().int().tolist() for c in ClipSet(clip_source(numbered), protocol, "random", None, seed)]
    starts = [frames[0] for frames in read(0)]
    assert all(frames == [start + 8 * i for i in range(4)] for frames, start in zip(read(0), starts, strict=True))
    assert read(0) == read(0) != read(1)
    assert len(set(starts)) > 5
    assert max(starts) <= 40 - 25


def test_short_clips_are_dropped_and_counted_where_the_protocol_says_so_and_refused_elsewhere():
    mixed = clips(6) + clips(3, frames=10)
    styled = dataclasses.replace(PLAIN, drop_short=True)
    m = distance(mixed, clips(6, seed=1), protocol=styled)
    assert m.fingerprint.fields["num_real"] == 6
    assert "3 real clips were too short and left out" in m.remarks
    with pytest.raises(ValueError, match="clip 6 has 10 frames"):
        distance(mixed, clips(6, seed=1))
    with pytest.raises(ValueError, match="needs exactly 16"):
        distance(clips(4, frames=17), clips(4), protocol=dataclasses.replace(PLAIN, real_window="whole"))


def test_fakes_are_never_drawn_again_to_fill_up_a_protocols_number():
    protocol = dataclasses.replace(PLAIN, num_fake=20, repeat_fakes=True)
    with pytest.raises(ValueError, match=r"draws the same fakes again.*--num-fake 12"):
        distance(clips(), clips(seed=1), protocol=protocol)
    assert distance(clips(), clips(seed=1), protocol=protocol, num_fake=12).fingerprint.fields["num_fake"] == 12


def test_unequal_numbers_few_clips_and_other_sizes_are_said_beside_the_number():
    m = distance(clips(5), clips(7, seed=1, size=24))
    said = " ".join(m.remarks)
    assert "as many of each" in said
    assert "differ in size" in said
    assert "do not determine a covariance" in said


def test_batches_are_invisible_also_where_clips_differ_in_size():
    mixed = clips(3) + clips(3, size=24) + clips(1)
    read = lambda n: extract(ClipSet(clip_source(mixed), PLAIN, "first", None), MEANS, PLAIN, batch_size=n)
    np.testing.assert_allclose(read(1), read(5), rtol=1e-6)


@pytest.mark.parametrize("rule", ["squash-bilinear", "short-side-crop"])
def test_squashing_keeps_the_edges_that_cropping_cuts(rule):
    """A white left border on a wide clip: half of the published scripts throw it away."""
    x = -torch.ones(1, 3, 1, 32, 64)
    x[..., :8] = 1
    seen = float(resize_clips(x, rule, 16).mean())
    assert seen == pytest.approx(-0.75 if rule == "squash-bilinear" else -1.0, abs=0.02)


def test_the_resize_of_the_original_drifts_by_half_a_pixel_like_tensorflow_one():
    ramp = torch.arange(8.0).expand(1, 3, 1, 8, 8) / 8
    tf1, centred = (resize_clips(ramp, rule, 16)[0, 0, 0, 0] for rule in ("squash-bilinear-tf1", "squash-bilinear"))
    assert tf1[:6].tolist() == pytest.approx([0, 1 / 16, 1 / 8, 3 / 16, 1 / 4, 5 / 16])
    assert float((tf1 - centred)[4:12].mean()) == pytest.approx(0.25 / 8)


def test_the_original_resize_is_that_of_torch_fidelity():
    theirs = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    x = torch.rand(2, 3, 20, 31, generator=torch.Generator().manual_seed(0))
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(x, size=(45, 45), align_corners=False)
    torch.testing.assert_close(resize_clips(x[:, :, None], "squash-bilinear-tf1", 45)[:, :, 0], expected, atol=1e-5, rtol=1e-5)


def test_weights_that_a_user_has_to_bring_are_asked_for_by_name():
    with pytest.raises(ValueError, match="state dict of the PyTorch I3D"):
        build_extractor(protocol_named("fvd"))
    with pytest.raises(ValueError, match="does not exist"):
        build_extractor(protocol_named("fvd"), "nowhere.pt")
    with pytest.raises(ValueError, match="Did you mean"):
        protocol_named("fvd-stylegan")


@pytest.fixture
def scripted(tmp_path):
    """A TorchScript file with the face of StyleGAN-V's I3D."""

    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False):
            if rescale:
                x = x / 127.5 - 1
            return x.mean(dim=[2, 3, 4]) if return_features else x

    torch.jit.script(Net()).save(str(tmp_path / "i3d.pt"))
    return tmp_path / "i3d.pt"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit.*")
def test_torchscript_runs_only_when_it_is_allowed_and_is_known_by_its_bytes(scripted, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.jit, "load", lambda *a, **k: pytest.fail("the file was loaded"))
        with pytest.raises(CodeRefused, match="--allow-torchscript"):
            torchscript_features(scripted)
    extractor = torchscript_features(scripted, "i3d-torchscript", allow=True)
    assert extractor.sha256 == hashlib.sha256(scripted.read_bytes()).hexdigest()
    x = torch.rand(2, 3, 4, 8, 8) * 2 - 1
    torch.testing.assert_close(extractor.encode(x), x.mean((2, 3, 4)), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit.*")
def test_the_protocol_of_stylegan_v_runs_on_a_file_of_that_face(scripted):
    m = set_distance(
        clips(8, frames=20), clips(8, seed=1), "fvd-stylegan-v-16f", weights=scripted, allow_torchscript=True,
        num_real=8, num_fake=8, draws=5,
    )  # fmt: skip
    assert m.fingerprint.fields["divisor"] == "n"
    assert m.fingerprint.fields["real_window"] == "random"
    assert m.fingerprint.fields["fake_window"] == "first"
    with pytest.raises(ValueError, match="takes 2048 fake clips and there are 8"):
        set_distance(clips(8, frames=20), clips(8, seed=1), "fvd-stylegan-v-16f", weights=scripted, allow_torchscript=True, num_real=8)
