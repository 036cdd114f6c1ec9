"""The request path: what decides a video, what does not, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import flipbook
import flipbook.shapes
from flipbook import systems
from flipbook.conditions import (
    TEXT_AND_FRAMES,
    FirstFrame,
    Frames,
    LastFrame,
    Text,
    as_requests,
    from_json,
    pictures_of,
    resolve,
    to_json,
)
from flipbook.generate import generate, sample
from flipbook.interop.folder import weights_hash
from flipbook.model import Model, UnknownWords
from flipbook.sampling import Prepared, Settings, prepare, settle
from tiny import tiny_system

PROMPT = "a red circle moves right"
LONG = "a blue square falls on a black background a red circle moves left on a black background a blue circle falls"


@pytest.fixture(scope="module")
def ready() -> Prepared:
    return prepare(tiny_system(), dtype="float32")


@pytest.fixture(scope="module")
def settings(ready: Prepared) -> Settings:
    return settle(ready.system)


def picture(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(ready: Prepared, settings: Settings, texts: list[str], seeds: list[int]) -> torch.Tensor:
    return sample(ready, [resolve((Text(text),), settings.size, TEXT_AND_FRAMES) for text in texts], settings, seeds)


def test_the_same_seed_gives_the_same_bytes(ready):
    (first,), (second,), (other,) = (generate(ready, PROMPT, seed=seed) for seed in (5, 5, 6))
    assert first.frames.tobytes() == second.frames.tobytes()
    assert first.frames.tobytes() != other.frames.tobytes()


def test_a_sample_does_not_depend_on_its_batch_or_position(ready, settings):
    encode = ready.system.text_encoder.encode
    assert encode([PROMPT])[1].shape != encode([LONG])[1].shape              # so that neighbours bring padding
    alone = pixels(ready, settings, [PROMPT], [7])
    first = pixels(ready, settings, [PROMPT, LONG, ""], [7, 8, 9])[:1]
    last = pixels(ready, settings, [LONG, "", PROMPT], [1, 2, 7])[2:]
    assert (alone - first).abs().max() < 1e-5
    assert (alone - last).abs().max() < 1e-5


def test_one_and_two_threads_agree(ready, settings):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = pixels(ready, settings, [PROMPT], [7])
        torch.set_num_threads(2)
        two = pixels(ready, settings, [PROMPT], [7])
    finally:
        torch.set_num_threads(before)
    assert (one - two).abs().max() < 1e-5


def test_videos_of_one_call_are_those_of_single_calls(ready):
    together = generate(ready, [PROMPT, LONG], seed=3, num_videos=2, batch_size=3)
    assert [v.recipe["seed"] for v in together] == [3, 4, 5, 6]
    alone = [generate(ready, text, seed=seed)[0] for text, seed in ((PROMPT, 3), (PROMPT, 4), (LONG, 5), (LONG, 6))]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.frames.astype(int) - b.frames).max() <= 1  # rounding of a value on the border


def test_words_matter_and_guidance_leads_away_from_the_negative_prompt(ready, settings):
    def made(text: Text, scale: float) -> torch.Tensor:
        return sample(ready, [resolve((text,), settings.size, TEXT_AND_FRAMES)], settle(ready.system, guidance_scale=scale), [0])

    assert not torch.equal(made(Text(PROMPT), 1.0), made(Text(LONG), 1.0))
    assert torch.equal(made(Text(PROMPT, "a blue square"), 1.0), made(Text(PROMPT), 1.0))
    assert not torch.equal(made(Text(PROMPT, "a blue square"), 3.0), made(Text(PROMPT), 3.0))
    assert torch.allclose(made(Text(PROMPT, PROMPT), 3.0), made(Text(PROMPT), 1.0), atol=1e-5)


def test_given_frames_reach_the_result_as_the_autoencoder_keeps_them(ready, settings):
    first, middle, last = picture(1), picture(2), picture(3)
    [video] = generate(ready, [Text(PROMPT), FirstFrame(first), Frames({2: middle}), LastFrame(last)])
    for index, given in ((0, first), (2, middle), (3, last)):
        x = flipbook.shapes.pixels_to_tensor(given[None])[None]
        with torch.no_grad():
            kept = flipbook.shapes.tensor_to_pixels(
                ready.system.autoencoder.decode(ready.system.autoencoder.encode(x))
            )[0, 0]
        assert np.abs(video.frames[index].astype(int) - kept).max() <= 1
    [free] = generate(ready, PROMPT)
    assert not np.array_equal(free.frames[1], video.frames[1])  # the others saw what was given


def test_the_rate_reaches_the_network(ready):
    (slow,), (fast,) = (generate(ready, PROMPT, fps=fps) for fps in (4, 16))
    assert not np.array_equal(slow.frames, fast.frames)


def test_pictures_may_come_as_path_image_array_or_tensor(tmp_path, settings):
    array = picture(4)
    Image.fromarray(array).save(tmp_path / "a.png")
    tensor = flipbook.shapes.pixels_to_tensor(array[None])[:, 0]
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), array, tensor):
        resolved = pictures_of(resolve((FirstFrame(given),), settings.size, TEXT_AND_FRAMES))
        assert list(resolved) == [0]
        assert np.array_equal(resolved[0], array)
    assert pictures_of(resolve((LastFrame(picture(4, 64, 96)),), settings.size, TEXT_AND_FRAMES))[3].shape == (32, 32, 3)


def test_a_request_survives_json(settings):
    request = resolve((Text(PROMPT, "blue"), Frames({-1: picture(1), 1: picture(2)})), settings.size, TEXT_AND_FRAMES)
    again = from_json(json.loads(json.dumps(to_json(request))))
    assert again[0] == request[0]
    assert all(np.array_equal(pictures_of(again)[i], p) for i, p in pictures_of(request).items())
    assert list(pictures_of(again)) == [1, 3]


def test_one_request_or_many_is_told_by_what_is_in_the_list():
    assert (
        as_requests("x") == as_requests(Text("x")) == as_requests([Text("x")]) == as_requests(["x"]) == [(Text("x"),)]
    )
    assert as_requests(["x", [Text("y")]]) == [(Text("x"),), (Text("y"),)]
    model = Model(tiny_system())
    assert isinstance(model.generate("a red circle", num_inference_steps=1), flipbook.Video)
    assert len(model.generate(["a red circle"], num_inference_steps=1)) == 1
    assert len(model.generate("a red circle", num_inference_steps=1, num_videos=2)) == 2


def test_a_video_carries_everything_that_decides_it(ready):
    [video] = generate(ready, [Text(PROMPT), FirstFrame(picture(1))], seed=11, guidance_interval=(0.1, 0.9))
    recipe = json.loads(json.dumps(video.recipe))
    assert recipe["model"]["weights_sha256"] == weights_hash(ready.system)
    assert recipe["settings"]["guidance_interval"] == [0.1, 0.9]
    assert recipe["settings"]["dtype"] == "float32"
    assert set(recipe["versions"]) >= {"python", "flipbook", "torch", "numpy", "av"}
    assert recipe["machine"]["threads"] == torch.get_num_threads()
    settings = {k: v for k, v in recipe["settings"].items() if k not in ("dtype", "compile")}
    [again] = generate(ready, [from_json(recipe["conditions"])], seed=recipe["seed"], **settings)
    assert np.array_equal(again.frames, video.frames)


def test_half_precision_stays_close(ready, settings):
    half = prepare(ready.system, dtype=torch.bfloat16)
    full, rough = (pixels(r, settings, [PROMPT], [0]) for r in (ready, half))
    assert next(ready.system.denoiser.parameters()).dtype == torch.float32
    assert 0 < (full - rough).abs().mean() < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_preparing_copies_the_weights_each_cast_once_and_leaves_the_systems_own(dtype):
    system = tiny_system()
    net = prepare(system, dtype=dtype).net
    for ours, copied in zip(system.denoiser.parameters(), net.parameters(), strict=True):
        assert (ours.dtype, copied.dtype) == (torch.float32, dtype)
        assert ours.data_ptr() != copied.data_ptr()
        assert torch.equal(ours.to(dtype), copied)
        assert not copied.requires_grad


def test_unknown_words_are_named():
    with pytest.warns(UnknownWords, match="'purple', 'zebra'") as caught:
        Model(tiny_system()).generate("a purple zebra falls", num_inference_steps=1)
    assert caught[0].message.words == ["purple", "zebra"]


def test_compiling_without_a_compiler_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        prepare(tiny_system(), compile=True)


def test_progress_counts_all_steps_of_all_batches(ready):
    told = []
    generate(ready, PROMPT, num_videos=3, batch_size=2, progress=lambda *p: told.append(p))
    assert told == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"height": 40}, "Try 32 or 48"),
        ({"width": 3}, "Try 16 or 32"),
        ({"num_frames": 0}, "at least one frame"),
        ({"fps": 0}, "above 0"),
        ({"sampler": "eular"}, "Did you mean 'euler'"),
        ({"num_inference_steps": 0}, "at least one step"),
        ({"num_videos": 0}, "count from 1"),
        ({"seed": [1, 2]}, "2 seeds for 1 videos"),
        ({"guidance_interval": (0.9, 0.1)}, "t_lo < t <= t_hi"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_can(ready, asked, says):
    with pytest.raises(ValueError, match=says):
        generate(ready, PROMPT, **asked)


@pytest.mark.parametrize(
    ("conditions", "says"),
    [
        ([FirstFrame(picture(0)), Frames({0: picture(1)})], "given twice"),
        ([Frames({4: picture(0)})], "0 to 3"),
        ([Frames({i: picture(i) for i in range(4)})], "nothing is left"),
        ([Text("a"), Text("b")], "two texts"),
        ([FirstFrame(picture(0).astype(np.float32))], "uint8"),
        ([FirstFrame(torch.zeros(1, 32, 32))], "float \\(3, H, W\\)"),
        ([], "no conditions"),
        (3, "no request"),
        ([3], "no request"),
    ],
)
def test_conditions_that_cannot_work_are_refused(ready, conditions, says):
    with pytest.raises(ValueError, match=says):
        generate(ready, conditions)


def test_a_missing_picture_is_named(ready, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.png"):
        generate(ready, FirstFrame(tmp_path / "nowhere.png"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")
@pytest.mark.parametrize("name", ["thumb", "bench", "latte", "wan"])
def test_a_compiled_network_makes_the_same_video(name):
    torch.manual_seed(0)
    system = systems.build(name, tiny=True).eval()
    for p in system.denoiser.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    how = {"num_inference_steps": 2, "num_frames": 5, "height": 32, "width": 32}
    plain, compiled = (generate(prepare(system, dtype="float32", compile=flag), "a red circle falls", **how)[0].frames for flag in (False, True))
    assert abs(plain.astype(int) - compiled.astype(int)).max() <= 1
