"""What VideoGPT claims, after a minute or two of squares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.autoencoders.vq import VQAutoencoderConfig
from flipbook.baselines.code_transformer import CodeTransformerConfig
from flipbook.long.codes import roll_codes
from flipbook.systems import videogpt
from flipbook.systems.latent import TINY_WORDS
from moving_squares import squares
from systems.trained import fresh, report, taught

SMALL = videogpt.VideoGPTConfig(
    autoencoder=VQAutoencoderConfig(num_codes=64, latent_channels=8, dim=32, blocks=1, pack=(2, 4, 4)),
    denoiser=CodeTransformerConfig(num_codes=64, in_channels=8, grid=(2, 4, 4), dim=48, depth=2, num_heads=4, dropout=0.0, text_dim=32),
    text_encoder=TINY_WORDS,
)
KINDS = 16


def clips(n, first):
    """Squares of sixteen kinds, over and over: `n` from number `first` on."""
    one = squares(KINDS)
    which = [k % KINDS for k in range(first, first + n)]
    return replace(one, video=one.video[which], frame_index=one.frame_index[which], fps=one.fps[which], index=list(range(first, first + n)),
                   captions=["a square moves"] * n, source=["squares"] * n)  # fmt: skip


def nearest(video):
    """The mean squared error of each clip from the kind that it is nearest to, and which that is."""
    return (video[:, None] - clips(KINDS, 0).video[None]).square().mean((2, 3, 4, 5)).min(1)


@pytest.mark.slow
def test_codes_drawn_one_after_the_other_are_a_clip_and_codes_drawn_apart_are_none():
    system = fresh("videogpt", SMALL, latents=False)
    taught(system, {}, clips, steps=300, batch=8, lr=3e-3, objective="quantising")
    prior = taught(system, {"drop_text": 1.0}, clips, steps=500, batch=16, lr=3e-3, objective="codes")
    book, shown = system.autoencoder.codebook, clips(KINDS, 0)
    with torch.no_grad():
        codes = system.autoencoder.codes(shown.video)
        share = torch.bincount(codes.flatten(), minlength=64).double() / codes.numel()
        apart = float(-(share[share > 0] * share[share > 0].log()).sum())   # nats per code for who knows how often each occurs
        cost = float(prior.loss(shown, list(range(KINDS))).loss.mean())
        doors = system.denoiser.prepare(prior._doors(shown, [""] * 48, [False] * 48, list(range(48))))
        drawn = roll_codes(system.denoiser, book.vectors, (2, 4, 4), list(range(48)), [(doors, 1.0)])
        loose = torch.multinomial(share, 48 * 32, replacement=True, generator=torch.Generator().manual_seed(0)).view(48, 2, 4, 4)
        packed, together, scattered = (nearest(system.autoencoder.decode(book.vectors_of(one))) for one in (codes, drawn, loose))
    kinds = len(set(together.indices.tolist()))
    report(cost=cost, apart=apart, packed=packed.values.mean(), together=together.values.mean(), scattered=scattered.values.mean(), kinds=kinds)
    assert cost < 0.3 * apart
    assert together.values.mean() < 0.6 * scattered.values.mean()
    assert kinds > KINDS // 2                                               # and not always the same one
