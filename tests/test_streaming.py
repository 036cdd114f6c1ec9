"""A stream: the frames of `generate`, early, in constant memory, and the same without a cache."""

import dataclasses
import json
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest
import torch

from flipbook import streaming
from flipbook.conditions import TEXT_AND_DRAFT, TEXT_AND_FRAMES, Draft, FirstFrame, Frames, LastFrame, Text, resolve
from flipbook.generate import generate, latents_of
from flipbook.interop.folder import from_pretrained, save_pretrained
from flipbook.long.streaming import Streaming
from flipbook.nn.attention import block_causal
from flipbook.nn.doors import Doors
from flipbook.process.matrix import autoregressive_levels
from flipbook.process.noise import NoiseSource
from flipbook.samplers import sample_euler
from flipbook.sampling import prepare, settle
from flipbook.streaming import stream, stream_latents
from tiny import tiny_system

CHUNK, WINDOW = 2, 4
SETTINGS = {"num_frames": 9, "num_inference_steps": 2}


def causal_system(**streaming):
    return dataclasses.replace(tiny_system(), streaming=Streaming(**{"chunk": CHUNK, "window": WINDOW} | streaming))


@pytest.fixture(scope="module")
def ready():
    return prepare(causal_system(), dtype="float32")


def picture(shade):
    return np.full((32, 32, 3), shade, np.uint8)


def test_a_stream_has_the_frames_of_generate_and_chunks_of_its_own(ready):
    chunks = list(stream(ready, "a red circle falls", seed=3, **SETTINGS))
    (video,) = generate(ready, "a red circle falls", seed=3, **SETTINGS)
    assert [len(c) for c in chunks] == [2, 2, 2, 2, 1]
    assert np.array_equal(np.concatenate(chunks), video.frames)


def test_a_shorter_stream_is_the_beginning_of_an_endless_one(ready):
    short = np.concatenate(list(stream(ready, "a red circle falls", num_frames=5, num_inference_steps=2)))
    endless = np.concatenate(list(islice(stream(ready, "a red circle falls", num_inference_steps=2), 6)))
    assert len(endless) == 12
    assert np.array_equal(endless[:5], short)


def test_the_first_chunk_is_there_before_the_second_is_begun(ready):
    calls = []
    settings = settle(ready.system, **SETTINGS)
    chunks = stream_latents(ready, [(Text("a red circle falls"),)], settings, [0], on_step=lambda i, *_: calls.append(i))
    next(chunks)
    assert calls == [0, 1]
    next(chunks)
    assert calls == [0, 1, 2, 3]


def test_a_stream_is_the_staircase_of_noise_levels_without_a_cache(ready):
    """The whole clip in every call, under the block-causal mask, chunk after chunk down to level 0: the same latents to 1e-5."""
    system, frames, steps = ready.system, 8, 2
    settings = settle(system, num_frames=frames, num_inference_steps=steps, guidance_scale=1.0)
    streamed = torch.cat(list(stream_latents(ready, [(Text("a red circle falls"),)], settings, [5])), dim=2)
    tokens, mask = system.text_encoder.encode(["a red circle falls"])
    may_read = block_causal(frames, CHUNK, window=WINDOW // CHUNK + 1)
    def network(x, t):
        return system.denoiser(x, t, Doors(tokens=tokens, token_mask=mask), frame_is_given=t == 0, frame_attends=may_read)

    draw = NoiseSource((4, CHUNK, *streamed.shape[3:]), [5])
    noise = torch.cat([draw() for _ in range(frames // CHUNK)], dim=2)
    with torch.no_grad():
        whole = sample_euler(system.process.denoiser(network), noise, system.process.path, autoregressive_levels(steps, frames, chunk=CHUNK))
    torch.testing.assert_close(streamed, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("interval", [None, (0.2, 0.8)])
def test_a_chunk_without_a_past_is_the_clip_of_a_model_of_whole_clips(scale, interval):
    """The same guidance, scale and interval; with an entry of a weight of its own besides."""
    also = dataclasses.replace(TEXT_AND_FRAMES[0], name="text again", weight=0.5)
    whole = dataclasses.replace(tiny_system(), conditions=(TEXT_AND_FRAMES[0], also, *TEXT_AND_FRAMES[1:]))
    made = []
    for system in (whole, dataclasses.replace(whole, streaming=Streaming(chunk=4, window=4))):
        settings = settle(system, num_frames=4, num_inference_steps=3, guidance_scale=scale, guidance_interval=interval)
        made.append(latents_of(prepare(system, dtype="float32"), [(Text("a red circle falls"),)], settings, [5]))
    torch.testing.assert_close(*made, rtol=0, atol=1e-5)


def test_a_stream_does_not_depend_on_its_batch(ready):
    settings = settle(ready.system, **SETTINGS)
    requests = [(Text("a red circle falls"),), (Text("a blue square moves left"),)]
    both = latents_of(ready, requests, settings, [1, 2])
    for i, request in enumerate(requests):
        torch.testing.assert_close(both[i : i + 1], latents_of(ready, [request], settings, [1 + i]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("given", [1, 2, 3])
def test_a_stream_begins_with_the_frames_that_it_is_given(ready, given):
    shades = [40, 120, 200][:given]
    settings = settle(ready.system, **SETTINGS)
    pictures = Frames({i: picture(s) for i, s in enumerate(shades)})
    request = resolve((Text("a red circle falls"), pictures), settings.size, ready.system.conditions)
    z = latents_of(ready, [request], settings, [0])
    wanted = torch.stack([ready.system.autoencoder.encode(torch.full((1, 3, 1, 32, 32), s / 127.5 - 1))[0, :, 0] for s in shades], dim=1)
    torch.testing.assert_close(z[0, :, :given], wanted, rtol=0, atol=1e-5)
    free = latents_of(ready, [(Text("a red circle falls"),)], settings, [0])
    assert (z[:, :, given:] - free[:, :, given:]).abs().max() > 1e-3


def test_the_past_is_read_as_far_as_the_window_goes():
    near, far, sunk = (prepare(causal_system(**s), dtype="float32") for s in ({"window": 2}, {"window": 8}, {"window": 2, "sink": 2}))
    a, b, c = (np.concatenate(list(stream(r, "a red circle falls", **SETTINGS))) for r in (near, far, sunk))
    assert np.array_equal(a[:4], b[:4])
    assert np.array_equal(a[:4], c[:4])
    assert not np.array_equal(a[4:], b[4:])
    assert not np.array_equal(a[4:], c[4:])


def test_what_a_rollout_remembers_does_not_grow(ready, monkeypatch):
    sizes = []

    class Watched(streaming.Rollout):
        def keep(self, x0):
            super().keep(x0)
            sizes.append(sum(cache.numel for cache in self.caches.values()))

    monkeypatch.setattr(streaming, "Rollout", Watched)
    list(stream(ready, "a red circle falls", num_frames=24, num_inference_steps=1))
    assert sizes[0] < sizes[1] == sizes[-1]


def test_a_model_folder_remembers_how_it_streams(tmp_path):
    save_pretrained(causal_system(sink=2), tmp_path / "model")
    assert from_pretrained(tmp_path / "model").streaming == Streaming(chunk=CHUNK, window=WINDOW, sink=2)
    save_pretrained(tiny_system(), tmp_path / "other")
    assert from_pretrained(tmp_path / "other").streaming is None
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    index["streaming"] = {"chunk": 3, "window": 4}
    (tmp_path / "model/model_index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model_index.json: streaming=.* Copy the folder again"):
        from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(("conditions", "asked", "says"), [
    ([Text("a"), LastFrame(picture(0))], {"num_frames": 9}, r"frames \[8\] are given: a causal model .* Give the first frames"),
    ([Text("a"), Frames({0: picture(0), 2: picture(0)})], {"num_frames": 9}, "without a gap"),
    ([Text("a"), FirstFrame(picture(0))], {"num_frames": 1}, "all 1 frames are given"),
    ("a", {"num_frames": 4, "best_of": 2}, "Try best_of=1"),
    (["a", "b"], {"num_frames": 4}, "2 requests: a stream is one video"),
])  # fmt: skip
def test_what_no_stream_can_show_is_refused_before_the_first_chunk(ready, conditions, asked, says):
    with pytest.raises(ValueError, match=says):
        stream(ready, conditions, **asked)


def test_compiled_blocks_are_refused(ready):
    with pytest.raises(ValueError, match="Leave compile out"):
        stream(dataclasses.replace(ready, compiled=True), "a red circle falls")


def test_a_draft_is_a_whole_clip_and_refused():
    system = dataclasses.replace(causal_system(), conditions=TEXT_AND_DRAFT)
    with pytest.raises(ValueError, match="a draft is a whole clip"):
        stream(system, [Text("a"), Draft(np.stack([picture(0)] * 4))], num_frames=4)


def test_a_system_that_is_not_causal_says_what_makes_it_so():
    with pytest.raises(ValueError, match=r"tiny is not causal: .* Try thumb-stream"):
        stream(tiny_system(), "a red circle falls")


@pytest.mark.parametrize(("values", "says"), [
    ({"chunk": 0}, "chunk=4"), ({"chunk": 4, "window": 6}, "Try window=4 or 8"), ({"chunk": 4, "window": 2}, "Try window=4 or 8"),
])  # fmt: skip
def test_a_window_is_whole_chunks(values, says):
    with pytest.raises(ValueError, match=says):
        Streaming(**values)


PEAK = """
import resource, sys
sys.path.insert(0, "tests")
from test_streaming import causal_system
from flipbook.streaming import stream
how = {"num_inference_steps": 1, "guidance_scale": 1.0}
frames = sum(len(chunk) for chunk in stream(causal_system(), "a red circle falls", num_frames=int(sys.argv[1]), **how))
print(frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_two_thousand_frames_take_the_memory_of_two_hundred():
    """Peak of the whole process, within 5 %."""
    peaks = []
    for frames in (200, 2000):
        out = subprocess.run([sys.executable, "-c", PEAK, str(frames)], capture_output=True, text=True, check=True).stdout.split()
        assert int(out[0]) == frames
        peaks.append(int(out[1]))
    assert peaks[1] <= 1.05 * peaks[0]


def test_guidance_that_parts_frames_has_no_stream_and_is_refused_by_name():
    from flipbook.conditions.entrances import motion

    system = dataclasses.replace(causal_system(), conditions=(*TEXT_AND_FRAMES, motion(1.2)))
    with pytest.raises(ValueError, match=r"branch 'null' says which frames see which.*Leave that entrance out"):
        stream(system, "a red circle falls", dtype="float32", **SETTINGS)


def test_a_network_that_reads_its_own_estimate_has_no_stream_and_is_refused_by_name():
    from flipbook import systems

    net = systems.build("walt", tiny=True).denoiser
    assert net.config.self_conditioned
    with pytest.raises(ValueError, match=r"WALT reads its own last estimate.*Try self_conditioned=False"):
        streaming.Rollout(net, {}, Streaming())
