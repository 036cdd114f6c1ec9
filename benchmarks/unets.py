"""The video U-Nets of public checkpoints against diffusers' own classes: one forward, a whole sampling loop, eager or compiled.

    python benchmarks/unets.py [--rounds 7] [--only svd] [--dtype bfloat16] [--compiled] [--markdown docs/performance.md]

AnimateDiff (`UNetMotionModel`), ModelScope (`UNet3DConditionModel`) and Stable Video Diffusion (`UNetSpatioTemporalConditionModel`), widths
64, 128, 256, 256, one layer a block, 8 frames of 16 x 16 latents, 77 rows of text (one of a picture for SVD). Weights are random, drawn in the
peer's class and copied by the key maps of `interop/keys`. A loop is DDIM with guidance 7.5: the
peer's is the one of its pipelines (both branches in one batch, its own scheduler), ours the samplers, the guidance list, its branches and
`prepare` of the package. See `race.py` for what is measured.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from race import DTYPES, difference, draw, facts, head, operations, options, product_rate, race, randomise, row
from tables import replace_table
from torch import Tensor

from flipbook.branches import Branches
from flipbook.denoisers.unet import UNet
from flipbook.guidance import guide
from flipbook.interop.keys.unet_animatediff import MOTION
from flipbook.interop.keys.unet_modelscope import MODELSCOPE
from flipbook.interop.keys.unet_svd import SVD
from flipbook.interop.schedulers import scheduler_plan
from flipbook.nn.doors import Doors
from flipbook.samplers import sample_ddim
from flipbook.sampling import inference_copy

FRAMES, SIDE, STEPS, SCALE, TEXT = 8, 16, 10, 7.5, 256
SIZES = {"block_out_channels": (64, 128, 256, 256), "layers_per_block": 1, "cross_attention_dim": TEXT}
BOUNDS = {
    ("animatediff", "forward"): {"float32": 1.3, "bfloat16": 1.5}, ("modelscope", "forward"): {"float32": 1.35, "bfloat16": 1.6},
    ("svd", "forward"): {"float32": 1.2, "bfloat16": 1.3},
    ("animatediff", "loop"): {"float32": 1.7, "bfloat16": 1.7}, ("modelscope", "loop"): {"float32": 1.7, "bfloat16": 1.7},
}  # fmt: skip


@dataclass
class Pair:
    """One network in both classes. Runners take (network, x) and return (B, C, T, H, W); x is float32 noise of that shape."""

    name: str
    theirs: Any
    ours: Any
    run_theirs: Callable[[Any, Tensor], Tensor]
    run_ours: Callable[[Any, Tensor], Tensor]
    tokens: Tensor


def _blocks(kind: str) -> dict[str, tuple[str, ...]]:
    return {
        "down_block_types": (f"CrossAttnDownBlock{kind}",) * 3 + (f"DownBlock{kind}",),
        "up_block_types": (f"UpBlock{kind}",) + (f"CrossAttnUpBlock{kind}",) * 3,
    }


def animatediff() -> Pair:
    theirs = randomise(diffusers.UNetMotionModel(**SIZES, **_blocks("Motion"), num_attention_heads=8, motion_num_attention_heads=8))
    ours = MOTION.load(UNet(MOTION.config(dict(theirs.config), norm="clip")), theirs.state_dict())
    tokens = draw(1, 77, TEXT, seed=2)
    return Pair("animatediff", theirs, ours, _peer(tokens.repeat_interleave(FRAMES, 0)), _ours(Doors(tokens=tokens)), tokens)


def modelscope() -> Pair:
    theirs = randomise(diffusers.UNet3DConditionModel(**SIZES, **_blocks("3D"), attention_head_dim=32))
    ours = MODELSCOPE.load(UNet(MODELSCOPE.config(dict(theirs.config))), theirs.state_dict())
    tokens = draw(1, 77, TEXT, seed=2)
    return Pair("modelscope", theirs, ours, _peer(tokens), _ours(Doors(tokens=tokens)), tokens)


def _peer(tokens: Tensor) -> Callable[[Any, Tensor], Tensor]:
    return lambda net, x: net(x.to(net.dtype), torch.tensor([37]), tokens.to(net.dtype)).sample


def _ours(doors: Doors) -> Callable[[Any, Tensor], Tensor]:
    def run(net: Any, x: Tensor) -> Tensor:
        dtype = next(net.parameters()).dtype
        return net(x.to(dtype), torch.tensor([0.038]), doors.to("cpu", dtype))

    return run


def svd() -> Pair:
    theirs = randomise(diffusers.UNetSpatioTemporalConditionModel(
        **SIZES, **_blocks("SpatioTemporal"), num_attention_heads=(2, 4, 8, 8), addition_time_embed_dim=64,
        projection_class_embeddings_input_dim=192, num_frames=FRAMES,
    ))  # fmt: skip
    ours = SVD.load(UNet(SVD.config(dict(theirs.config), eps="diffusers")), theirs.state_dict())
    tokens, image, numbers, sigma = draw(1, 1, TEXT, seed=2), draw(1, 4, FRAMES, SIDE, SIDE, seed=3), torch.tensor([[6.0, 127.0, 0.02]]), 0.7
    doors, t = Doors(tokens=tokens, channels=image, vector=numbers), torch.tensor([math.atan(sigma) * 2 / math.pi])

    def run_theirs(net: Any, x: Tensor) -> Tensor:
        both = torch.cat([x, image], 1).transpose(1, 2).to(net.dtype)
        return net(both, torch.tensor([0.25 * math.log(sigma)]), tokens.to(net.dtype), numbers).sample.transpose(1, 2)

    def run_ours(net: Any, x: Tensor) -> Tensor:
        dtype = next(net.parameters()).dtype
        return net(x.to(dtype), t, doors.to("cpu", dtype))

    return Pair("svd", theirs, ours, run_theirs, run_ours, tokens)


def loops(pair: Pair) -> Pair:
    """The same networks at the work of a whole sampling loop, DDIM with guidance."""
    scheduler = diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    plan = scheduler_plan({"_class_name": "DDIMScheduler", **scheduler.config})
    on, off = pair.tokens, draw(1, 77, TEXT, seed=4)

    def run_theirs(net: Any, x: Tensor) -> Tensor:
        tokens = torch.cat([off, on]).to(net.dtype)
        tokens = tokens.repeat_interleave(FRAMES, 0) if pair.name == "animatediff" else tokens
        scheduler.set_timesteps(STEPS)
        for t in scheduler.timesteps:
            without, with_text = net(torch.cat([x, x]).to(net.dtype), t, tokens).sample.float().chunk(2)
            x = scheduler.step(without + SCALE * (with_text - without), t, x).prev_sample
        return x

    def run_ours(net: Any, x: Tensor) -> Tensor:
        dtype = next(net.parameters()).dtype

        doors = {name: net.prepare(Doors(tokens=tokens.to(dtype))) for name, tokens in (("off", off), ("on", on))}
        denoise = guide(Branches(net, plan.process, doors, {}, dtype=dtype), [("off", 1), ("on", SCALE)])
        return sample_ddim(denoise, x, plan.process.path, plan.matrix(STEPS, FRAMES))

    return Pair(pair.name, pair.theirs, pair.ours, run_theirs, run_ours, pair.tokens)


def compare(pair: Pair, work: str, dtypes: Sequence[str], rounds: int, compiled: bool) -> list[str]:
    """Rows of the table."""
    x, rows = draw(1, 4, FRAMES, SIDE, SIDE), []
    exact = pair.run_theirs(pair.theirs.float(), x)
    for name in dtypes:
        dtype = DTYPES[name]
        theirs, ours = pair.theirs.to(dtype), inference_copy(pair.ours, dtype)
        if compiled:
            theirs, ours = torch.compile(theirs), torch.compile(ours)
        errors = difference(pair.run_ours(ours, x), exact), difference(pair.run_theirs(theirs, x), exact)
        result = race(lambda: pair.run_ours(ours, x), lambda: pair.run_theirs(theirs, x), rounds)
        rate = product_rate(dtype)
        flops = None if compiled else min(operations(lambda: pair.run_ours(ours, x)), operations(lambda: pair.run_theirs(theirs, x)))
        names = pair.name, work, name, "compiled" if compiled else "eager"
        rows.append(row(names, result, rate, flops, BOUNDS.get((pair.name, work), {}).get(name), errors))
        print(rows[-1], flush=True)
    return rows


HEAD = head("network", "work", "dtype", "mode")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--only", nargs="*", default=["animatediff", "modelscope", "svd"], choices=["animatediff", "modelscope", "svd"])
    parser.add_argument("--work", nargs="*", default=["forward", "loop"], choices=["forward", "loop"])
    parser.add_argument("--compiled", action="store_true", help="compile both sides")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    warnings.simplefilter("ignore")
    diffusers.logging.set_verbosity_error()
    told = facts(f"diffusers {diffusers.__version__}")
    print(told, *HEAD, sep="\n", flush=True)
    with torch.inference_mode():
        for build in (animatediff, modelscope, svd):
            if build.__name__ not in asked.only:
                continue
            pair, rows = build(), []
            if "forward" in asked.work:
                rows += compare(pair, "forward", asked.dtype, asked.rounds, asked.compiled)
            if "loop" in asked.work and pair.name != "svd":
                rows += compare(loops(pair), "loop", asked.dtype, max(3, asked.rounds // 2), asked.compiled)
            if asked.markdown:
                replace_table(asked.markdown, pair.name + ("-compiled" if asked.compiled else ""), [told, "", *HEAD, *rows], sys.argv)


if __name__ == "__main__":
    main()
