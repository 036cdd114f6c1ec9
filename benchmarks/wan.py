"""Wan's video transformer and autoencoder against diffusers' own classes: `WanTransformer3DModel` and `AutoencoderKLWan`.

    OMP_NUM_THREADS=1 python benchmarks/wan.py [--rounds 7] [--only denoiser] [--dtype bfloat16] [--markdown docs/performance.md]

The denoiser: width 256, 8 layers, 4 heads, 1,280 tokens (5 latent frames of 32 x 32 cells), 512 rows of text as the pipeline feeds them: zeros
behind the end of a sentence of 40 words, or a sentence that fills them all. Keys and values of the text are made once per prompt by
`prepare`, as in every sampling loop; the peer makes them at each call. The autoencoder: width 48, 9 frames of 64 x 64 pixels.
Weights are random, drawn in the peer's class and copied by the key maps of `interop/keys`. See `race.py` for what is measured.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from race import DTYPES, difference, draw, facts, head, operations, options, product_rate, race, randomise, row
from tables import replace_table
from torch import Tensor

from flipbook.autoencoders.wan import WanAutoencoder
from flipbook.denoisers.wan import Wan
from flipbook.interop.keys import autoencoder_wan, transformer_wan
from flipbook.interop.keys_apply import translate
from flipbook.nn.doors import Doors
from flipbook.sampling import inference_copy

BOUNDS = {
    "denoiser, 40 words": {"float32": 1.25, "bfloat16": 1.8}, "encode": {"float32": 1.0, "bfloat16": 1.0}, "decode": {"float32": 1.0, "bfloat16": 1.0},
}  # fmt: skip
TEXT = 256


@dataclass
class Work:
    """One piece of work in both classes. Each runner takes its network and returns a tensor of the same shape."""

    name: str
    theirs: Any
    ours: Any
    run_theirs: Callable[[Any], Tensor]
    run_ours: Callable[[Any], Tensor]


def denoiser(words: int) -> Work:
    """One forward at a noise level."""
    theirs = randomise(diffusers.WanTransformer3DModel(num_attention_heads=4, attention_head_dim=64, text_dim=TEXT, ffn_dim=1024, num_layers=8))
    ours = copied(Wan, transformer_wan, theirs)
    x, mask = draw(1, 16, 5, 32, 32), torch.arange(512)[None] < words
    tokens = draw(1, 512, TEXT, seed=2) * mask[..., None]
    prepared: dict[Any, Doors] = {}

    def run_ours(net: Any) -> Tensor:
        dtype = net.head.weight.dtype
        if net not in prepared:
            prepared[net] = net.prepare(Doors(tokens=tokens.to(dtype), token_mask=mask))
        return net(x.to(dtype), torch.tensor([0.5]), prepared[net])

    def run_theirs(net: Any) -> Tensor:
        dtype = net.proj_out.weight.dtype
        return net(x.to(dtype), torch.tensor([500.0]), tokens.to(dtype)).sample

    return Work(f"denoiser, {words} words", theirs, ours, run_theirs, run_ours)


def autoencoder() -> Iterator[Work]:
    """A clip to latents, and latents to frames, both of unit variance outside."""
    theirs = randomise(diffusers.AutoencoderKLWan(base_dim=48))
    ours = copied(WanAutoencoder, autoencoder_wan, theirs)
    mean, std = (torch.tensor(values)[:, None, None, None] for values in (theirs.config.latents_mean, theirs.config.latents_std))
    x, z = draw(1, 3, 9, 64, 64).clamp(-1, 1), draw(1, 16, 3, 8, 8)
    of = lambda net: next(net.parameters()).dtype
    yield Work(
        "encode", theirs, ours, lambda net: (net.encode(x.to(of(net))).latent_dist.mode() - mean.to(of(net))) / std.to(of(net)),
        lambda net: net.encode(x.to(of(net))),
    )  # fmt: skip
    yield Work("decode", theirs, ours, lambda net: net.decode((z * std + mean).to(of(net))).sample, lambda net: net.decode(z.to(of(net))))


def copied(make: Any, keys: Any, theirs: Any) -> Any:
    """Our class with the peer's weights."""
    net = make(keys.config(dict(theirs.config), "the peer"))
    net.load_state_dict(translate(theirs.state_dict(), keys.RULES, net.state_dict()))
    return net.eval()


def compare(work: Work, names: list[str], rounds: int, bounds: Mapping[str, Mapping[str, float]] = BOUNDS) -> list[str]:
    """Rows of the table. bounds: what is aimed at, by work and dtype."""
    rows, exact = [], work.run_theirs(work.theirs.float())
    for name in names:
        dtype = DTYPES[name]
        theirs, ours = copy.deepcopy(work.theirs).to(dtype), inference_copy(work.ours, dtype)   # others race the same peer
        errors = difference(work.run_ours(ours), exact), difference(work.run_theirs(theirs), exact)
        result = race(lambda: work.run_ours(ours), lambda: work.run_theirs(theirs), rounds)
        rate = product_rate(dtype)
        flops = min(operations(lambda: work.run_ours(ours)), operations(lambda: work.run_theirs(theirs)))
        rows.append(row((work.name, name), result, rate, flops, bounds.get(work.name, {}).get(name), errors))
        print(rows[-1], flush=True)
    return rows


HEAD = head("work", "dtype")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--only", nargs="*", default=["denoiser", "autoencoder"], choices=["denoiser", "autoencoder"])
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    told = facts(f"diffusers {diffusers.__version__}", "eager")
    print(told, *HEAD, sep="\n", flush=True)
    rows: list[str] = []
    with torch.inference_mode():
        if "denoiser" in asked.only:
            for words in (40, 512):
                rows += compare(denoiser(words), asked.dtype, asked.rounds)
        if "autoencoder" in asked.only:
            for work in autoencoder():
                rows += compare(work, asked.dtype, asked.rounds)
    if asked.markdown:
        replace_table(asked.markdown, "wan", [told, "", *HEAD, *rows], sys.argv)


if __name__ == "__main__":
    main()
