"""A folder of files that are broken, or only odd, in every way that a file can be."""

from __future__ import annotations

import numpy as np

from footage import encode, gradients, sound_only


def broken_in_every_way(folder):
    """Name to the rule that should drop it, or "" where odd is not broken."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = encode(folder / "odd-size.mkv", gradients(10, 35, 51), codec="ffv1", pixel_format="bgr0")
    encode(folder / "rotated.mp4", gradients(10, 32, 48), rotation=90)
    encode(folder / "variable.mp4", gradients(10, 32, 48), stamps=[0, 40, 90, 300, 340, 400, 800, 820, 900, 1000])
    encode(folder / "ten-bit.mkv", gradients(10, 32, 48), codec="ffv1", pixel_format="yuv420p10le")
    encode(folder / "alpha.mkv", gradients(10, 32, 48), codec="ffv1", pixel_format="yuva420p")
    encode(folder / "one-frame.mp4", gradients(1, 32, 48))
    sound_only(folder / "audio-only.mp4")
    (folder / "zero.mp4").touch()
    (folder / "truncated.mp4").write_bytes((folder / "rotated.mp4").read_bytes()[:-200])
    (folder / "text.mp4").write_text("this is no video")
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    assert whole.exists()
    return {
        "odd-size.mkv": "", "rotated.mp4": "", "variable.mp4": "", "ten-bit.mkv": "", "alpha.mkv": "", "one-frame.mp4": "too short",
        "audio-only.mp4": "no video", "zero.mp4": "empty", "truncated.mp4": "truncated", "text.mp4": "no video",
        "noise.mp4": "no video",
    }  # fmt: skip
