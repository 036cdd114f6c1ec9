"""What a class and given first frames decide, after a minute or two of squares."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbook.autoencoders.vq import VQAutoencoderConfig
from flipbook.baselines.code_transformer import CodeTransformerConfig
from flipbook.encoders.beginning import BeginningEncoderConfig
from flipbook.long.codes import roll_codes
from flipbook.systems import videogpt
from moving_squares import squares
from systems.trained import fresh, report, taught

KINDS = 8
SMALL = videogpt.VideoGPTConfig(
    autoencoder=VQAutoencoderConfig(num_codes=64, latent_channels=8, dim=32, blocks=1, pack=(2, 4, 4)),
    denoiser=CodeTransformerConfig(num_codes=64, in_channels=8, grid=(2, 4, 4), dim=48, depth=2, num_heads=4, dropout=0.0),
    classes=tuple(f"kind {k}" for k in range(KINDS)),
    beginning=BeginningEncoderConfig(frames=1, side=16, dim=32, widths=(16, 16, 32), depths=(1, 1, 1)),
)


def clips(n, first):
    """Squares of eight kinds, over and over, whose captions name them."""
    one, which = squares(KINDS), [k % KINDS for k in range(first, first + n)]
    return replace(one, video=one.video[which], frame_index=one.frame_index[which], fps=one.fps[which], index=list(range(first, first + n)),
                   captions=[f"kind {k}" for k in which], source=["squares"] * n)  # fmt: skip


def right(prior, names, shown):
    """Share of drawn clips that are nearest to the kind asked for, told its name or its first frame."""
    system, asked = prior.system, clips(KINDS, 0)
    with torch.no_grad():
        doors = system.denoiser.prepare(prior._doors(asked, names, [shown] * KINDS, list(range(KINDS))))
        codes = roll_codes(system.denoiser, system.autoencoder.codebook.vectors, (2, 4, 4), list(range(KINDS)), [(doors, 1.0)])
        made = system.autoencoder.decode(system.autoencoder.codebook.vectors_of(codes))
    kind = (made[:, None] - asked.video[None]).square().mean((2, 3, 4, 5)).argmin(1)
    return float((kind == torch.arange(KINDS)).float().mean())


@pytest.mark.slow
def test_a_clip_is_of_the_class_that_is_named_and_of_the_kind_that_its_given_first_frame_is():
    system = fresh("videogpt", SMALL, latents=False)
    taught(system, {}, clips, steps=200, batch=8, lr=3e-3, objective="quantising")
    prior = taught(system, {"drop_text": 0.5, "given": 1}, clips, steps=250, batch=16, lr=3e-3, objective="codes")
    names, nothing = clips(KINDS, 0).captions, [""] * KINDS
    by_frame, by_nothing = right(prior, nothing, True), right(prior, nothing, False)
    named = taught(system, {"drop_text": 0.1}, clips, steps=150, batch=16, lr=3e-3, objective="codes")
    by_name = right(named, names, False)
    report(by_name=by_name, by_frame=by_frame, by_nothing=by_nothing)
    assert by_frame >= 0.6
    assert by_name >= 0.75
    assert by_nothing < 0.4                                                 # one of eight, by chance
