"""Tiles, slices and chunks: what is exact, what is close, and what happens when memory runs out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from autoencoder_peers import randomised, translated
from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.autoencoders.tiling import (
    OutOfMemory,
    decode_in_chunks,
    field_of_view,
    is_out_of_memory,
    tiled_decode,
    tiled_encode,
)
from flipbook.autoencoders.tiny import TinyAutoencoder, TinyAutoencoderConfig
from flipbook.interop.keys import autoencoder_temporal_decoder as keys


def tiny():
    torch.manual_seed(0)
    return TinyAutoencoder(TinyAutoencoderConfig(dim=8, encoder_blocks=(1, 1, 0), decoder_blocks=(0, 1, 1))).eval().requires_grad_(False)


def temporal():
    torch.manual_seed(0)
    return TemporalDecoderAutoencoder(TemporalDecoderAutoencoderConfig(dims=(8, 16), groups=8)).eval().requires_grad_(False)


def latents(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def psnr(a: Tensor, b: Tensor) -> float:
    """Against a range of 2."""
    return 10 * math.log10(4 / max(float(((a - b) ** 2).mean()), 1e-20))


class Crowded:
    """Decodes by repeating pixels, and runs out of memory above `limit` frame-cells at a time."""

    stride = 2

    def __init__(self, limit: int, error: Exception, mixes_frames: bool = False):
        self.limit, self.error, self.mixes_frames, self.calls = limit, error, mixes_frames, []

    def decode(self, z: Tensor) -> Tensor:
        self.calls.append((z.shape[0], z.shape[2]))
        if z.shape[0] * z.shape[2] > self.limit:
            raise self.error
        x = z[:, :3].repeat_interleave(2, 3).repeat_interleave(2, 4)
        return x + z.mean() if self.mixes_frames else x


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    MemoryError(),
]


def test_tiles_that_overlap_by_three_fields_of_view_are_exact():
    net, z = tiny(), latents(1, 4, 2, 31, 40)
    reach = field_of_view(net.decode, latents(1, 4, 1, 24, 24), cell_out=net.stride)
    assert reach == 5
    whole = net.decode(z)
    tiled = tiled_decode(net, z, tile=30, overlap=3 * reach)
    assert tiled.shape == whole.shape == (1, 3, 2, 124, 160)
    assert psnr(tiled, whole) > 120
    assert psnr(tiled_decode(net, z, tile=30, overlap=reach), whole) < 100     # the bound is not idle


def test_encoding_in_tiles_is_exact_too():
    net, x = tiny(), latents(1, 3, 1, 128, 164).clamp(-1, 1)
    reach = field_of_view(net.encode, latents(1, 3, 1, 96, 96), cell_in=net.stride)
    assert reach == 5
    assert psnr(tiled_encode(net, x, tile=30, overlap=3 * reach), net.encode(x)) > 120


def test_norms_and_attention_see_the_whole_picture():
    torch.manual_seed(0)
    net = KLAutoencoder(KLAutoencoderConfig(dims=(8, 16), blocks=1, groups=4, mid_attention=False)).eval()
    assert field_of_view(net.decode, latents(1, 4, 1, 40, 40), cell_out=2) is None


@pytest.mark.parametrize("length", [1, 9, 10, 11, 23, 24, 25, 57])
def test_every_pixel_is_covered_by_weights_that_add_up_to_one(length):
    class Repeat(Crowded):
        def decode(self, z):
            assert max(z.shape[3:]) <= 10
            return torch.ones_like(z).repeat_interleave(2, 3).repeat_interleave(2, 4)

    for overlap in (0, 3, 5):
        out = tiled_decode(Repeat(99, MemoryError()), latents(1, 3, 1, length, 12), tile=10, overlap=overlap)
        torch.testing.assert_close(out, torch.ones(1, 3, 1, 2 * length, 24))


def test_where_the_field_of_view_allows_60_db_remain():
    """Overlaps narrower than three full fields of view: the far rim of a field carries next to nothing."""
    torch.manual_seed(0)
    net = TinyAutoencoder(TinyAutoencoderConfig(dim=8)).eval().requires_grad_(False)
    z = latents(1, 4, 1, 40, 24)
    whole = net.decode(z)
    assert psnr(tiled_decode(net, z, tile=24, overlap=12), whole) > 100
    assert psnr(tiled_decode(net, z, tile=24, overlap=6), whole) > 80
    assert psnr(tiled_decode(net, z, tile=24, overlap=0), whole) < 65


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_chunks_shrink_until_they_fit_and_nothing_is_lost(error):
    crowded, z = Crowded(3, error), latents(2, 4, 10, 2, 2)
    out = decode_in_chunks(crowded, z)
    assert torch.equal(out, Crowded(99, error).decode(z))
    assert crowded.calls[:5] == [(2, 10), (1, 10), (1, 5), (1, 3), (1, 3)]      # all, one sample, halves; the size that works stays
    assert crowded.calls.count((1, 3)) == 6
    assert crowded.calls.count((1, 10)) == 1


@pytest.mark.parametrize("mixes_frames", [True, False])
def test_frames_that_see_each_other_are_decoded_again_in_equal_chunks(mixes_frames):
    """Memory runs out at the second chunk; a clip of unequal chunks would depend on when."""

    class Shrinking(Crowded):
        def decode(self, z):
            self.limit = 4 if not self.calls else 3
            return super().decode(z)

    crowded, z = Shrinking(4, MemoryError(), mixes_frames), latents(1, 4, 9, 2, 2)
    size = 2 if mixes_frames else 9
    roomy = Crowded(99, MemoryError(), mixes_frames)
    expected = torch.cat([roomy.decode(part) for part in z.split(size, dim=2)], dim=2)
    assert torch.equal(decode_in_chunks(crowded, z, chunk=4), expected)
    assert [frames for _, frames in crowded.calls] == [4, 4, *([2] * 4 if mixes_frames else [2, 2]), 1]


def test_one_frame_too_many_says_what_to_try_and_other_errors_pass():
    with pytest.raises(OutOfMemory, match="Try tile=64"):
        decode_in_chunks(Crowded(0, MemoryError()), latents(1, 4, 2, 2, 2))
    with pytest.raises(RuntimeError, match="shapes"):
        decode_in_chunks(Crowded(0, RuntimeError("shapes cannot be multiplied")), latents(1, 4, 2, 2, 2))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_chunks_of_the_temporal_decoder_are_those_of_the_reference_pipeline():
    from diffusers import AutoencoderKLTemporalDecoder

    peer = randomised(AutoencoderKLTemporalDecoder(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=2))
    net, z = translated(TemporalDecoderAutoencoder, keys, peer), latents(1, 4, 5, 4, 4)
    raw = z[0].transpose(0, 1) / peer.config.scaling_factor                     # (T, C, h, w), as `decode_latents` of that pipeline
    chunks = [peer.decode(raw[i : i + 2], num_frames=len(raw[i : i + 2])).sample for i in (0, 2, 4)]
    expected = torch.cat(chunks).transpose(0, 1)[None]
    torch.testing.assert_close(decode_in_chunks(net, z, chunk=2), expected, atol=1e-4, rtol=1e-4)
    assert (net.decode(z) - expected).abs().max() > 1e-2


def test_a_chunk_never_leaves_its_sample():
    net, z = temporal(), latents(2, 4, 3, 4, 4)
    changed = z.clone()
    changed[1] += 1
    assert torch.equal(decode_in_chunks(net, z, chunk=2)[0], decode_in_chunks(net, changed, chunk=2)[0])


def test_a_small_tile_that_is_asked_for_alone_overlaps_by_half_of_itself():
    """As the message of a failed decoding asks for: the usual overlap would be wider than such a tile allows."""
    net, z = tiny(), latents(1, 4, 1, 20, 20)
    assert torch.equal(tiled_decode(net, z, tile=8), tiled_decode(net, z, tile=8, overlap=4))
    assert torch.equal(decode_in_chunks(net, z, chunk=1, tile=8), tiled_decode(net, z, tile=8, overlap=4))


def test_what_cannot_work_is_refused():
    with pytest.raises(ValueError, match="0 to half a tile"):
        tiled_decode(tiny(), latents(1, 4, 1, 9, 9), tile=8, overlap=5)
    with pytest.raises(ValueError, match="chunk=0"):
        decode_in_chunks(tiny(), latents(1, 4, 1, 9, 9), chunk=0)
    with pytest.raises(ValueError, match=r"a side of 18 pixels.*Try 16"):
        tiled_encode(tiny(), latents(1, 3, 1, 18, 16))
