"""Latte's video transformer against diffusers' own class, `LatteTransformer3DModel`.

    OMP_NUM_THREADS=1 python benchmarks/latte.py [--rounds 7] [--dtype bfloat16] [--markdown docs/performance.md]

Width 256, 4 blocks of either kind, 4 heads, 8 frames of 32 x 32 cells in patches of 2 x 2, a sentence of 40 rows. Keys and values of the text are made once
per prompt by `prepare`, as in every sampling loop; the peer makes them at each call. See `race.py` for what is measured.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import diffusers
import torch
from race import draw, facts, options, randomise
from tables import replace_table
from torch import Tensor
from wan import HEAD, Work, compare, copied

from flipbook.denoisers.latte import Latte
from flipbook.interop.keys import transformer_latte
from flipbook.nn.doors import Doors

BOUNDS = {"latte": {"float32": 1.15, "bfloat16": 1.35}}
TEXT, ROWS, LEVEL = 256, 40, 500


def denoiser() -> Work:
    """One forward at a noise level."""
    theirs = randomise(diffusers.LatteTransformer3DModel(
        num_attention_heads=4, attention_head_dim=64, in_channels=4, out_channels=8, num_layers=4, sample_size=32, patch_size=2, caption_channels=TEXT,
        cross_attention_dim=256, attention_bias=True, activation_fn="gelu-approximate", norm_type="ada_norm_single", norm_elementwise_affine=False,
        norm_eps=1e-6, num_embeds_ada_norm=1000, video_length=8,
    ))  # fmt: skip
    ours = copied(Latte, transformer_latte, theirs)
    x, tokens = draw(1, 4, 8, 32, 32), draw(1, ROWS, TEXT, seed=2)
    prepared: dict[Any, Doors] = {}

    def run_ours(net: Any) -> Tensor:
        dtype = net.head.weight.dtype
        if net not in prepared:
            prepared[net] = net.prepare(Doors(tokens=tokens.to(dtype)))
        out: Tensor = net(x.to(dtype), torch.tensor([(LEVEL + 1) / 1000]), prepared[net])
        return out

    def run_theirs(net: Any) -> Tensor:
        dtype = net.proj_out.weight.dtype
        out: Tensor = net(x.to(dtype), torch.tensor([LEVEL]), tokens.to(dtype)).sample
        return out

    return Work("latte", theirs, ours, run_theirs, run_ours)


def main() -> None:
    asked = options(__doc__).parse_args()
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    told = facts(f"diffusers {diffusers.__version__}", "eager")
    print(told, *HEAD, sep="\n", flush=True)
    with torch.inference_mode():
        rows = compare(denoiser(), asked.dtype, asked.rounds, BOUNDS)
    if asked.markdown:
        replace_table(asked.markdown, "latte", [told, "", *HEAD, *rows], sys.argv)


if __name__ == "__main__":
    main()
