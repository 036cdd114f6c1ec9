"""Autoencoders that were read in half precision take what everybody hands them: float32."""

from __future__ import annotations

import pytest
import torch

from autoencoder_peers import randomised
from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig
from flipbook.autoencoders.kl import KLAutoencoder, KLAutoencoderConfig
from flipbook.autoencoders.temporal_decoder import TemporalDecoderAutoencoder, TemporalDecoderAutoencoderConfig
from flipbook.autoencoders.tiny import TinyAutoencoder, TinyAutoencoderConfig

SMALL = {"dims": (16, 32), "blocks": 1, "groups": 8}
NETS = {
    "frame": lambda: FrameAutoencoder(FrameAutoencoderConfig(encoder_dims=(16,), encoder_blocks=(1,), decoder_dims=(16, 16), decoder_blocks=(1, 1))),
    "kl": lambda: KLAutoencoder(KLAutoencoderConfig(**SMALL)),
    "temporal decoder": lambda: TemporalDecoderAutoencoder(TemporalDecoderAutoencoderConfig(**SMALL)),
    "tiny": lambda: TinyAutoencoder(TinyAutoencoderConfig(dim=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))),
}


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_in_half_precision_it_takes_float32_both_ways_and_stays_close(name):
    torch.manual_seed(0)
    net = randomised(NETS[name]())
    x = torch.randn(1, 3, 2, 16, 16, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    z = net.encode(x)
    wanted = net.decode(z)
    rough = net.to(torch.bfloat16)
    z_rough, got = rough.encode(x), rough.decode(z)
    assert (z_rough.dtype, got.dtype) == (torch.bfloat16, torch.bfloat16)
    assert 0 < (z_rough.float() - z).abs().mean() < 0.05 * z.abs().mean()
    assert 0 < (got.float() - wanted).abs().mean() < 0.05 * wanted.abs().mean()
