"""Decoded frames become RGB by way of planes, three times as fast as straight to packed pixels, and not a bit otherwise."""

from __future__ import annotations

import av
import numpy as np
import pytest

from flipbook.files.resize import FLAGS, Geometry, ToRGB, chain


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le", "nv12", "gray", "p010le"])
@pytest.mark.parametrize("size", [(64, 64), (37, 53)])
@pytest.mark.parametrize("wanted", [None, (32, 40), (90, 70)])
def test_planes_on_the_way_change_no_bit(pixels, size, wanted):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    coded = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixels)
    height, width = wanted or size
    full = "pc" if coded.color_range == 2 or pixels.startswith("yuvj") else "tv"
    scale = f"{width}:{height}:{FLAGS}:in_color_matrix=bt601:in_range={full}:out_range=pc:in_chroma_loc=left"
    straight = chain(size[1], size[0], pixels, [("scale", scale), ("format", "rgb24")])
    coded.pts = None
    straight.push(coded)
    expected = straight.pull().to_ndarray()
    found = ToRGB().convert(coded, Geometry(height, width, height, width), "rgb24").to_ndarray()
    assert np.array_equal(found, expected)
