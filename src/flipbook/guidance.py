"""The guidance list: several denoisers, each with something more or other switched on, folded into one.

Entries (branch, weight) with predictions e_0, e_1, ... are folded left to right, g = e_0 + sum_k w_k (e_k - e_(k-1)).
Two entries are classifier-free guidance (arXiv 2207.12598, in the form where 1 means no guidance); longer lists are
dual and temporal guidance. A branch whose prediction cancels is not run.

Guidance acts on x0, the prediction samplers see. The coefficients add up to 1 and x0 is affine in eps (and in v and
flow) for fixed (x, t), so the same list on any of them gives the same sample. A last weight below 1 pulls back towards
the branch before it: LVDM's released long videos (arXiv 2211.13221) use 0.9 between masked and unmasked frames.

What steers a sample without another condition is in `steering.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from flipbook.branches import ask
from flipbook.process import Process, expand_t
from flipbook.process.variance import WithVariance

Denoise = Callable[[Tensor, Tensor], Tensor]
Weight = float | Tensor | Callable[[Tensor], "float | Tensor"]


def guide(
    branches: Mapping[str, Denoise],
    weights: Sequence[tuple[str, Weight]],
    *,
    interval: tuple[float, float] | None = None,
    rescale: float = 0.0,
    process: Process | None = None,
) -> Denoise:
    """One denoiser out of several: `guide({"uncond": u, "cond": c}, [("uncond", 1), ("cond", 7.5)])`.

    branches: named denoisers (x, t) -> x0; x (B, C, T, H, W), t (B,) or (B, T). `Branches` of one network share a batch.
    weights:  entries (branch, weight) in order. A weight is a number, a (T,) tensor (one per frame), or a function of
              t that returns a number, (B,), (T,) against t (B, T), or (B, T). The first entry is where the sum
              starts: its weight is 1. Weight 1 on the last entry alone runs that branch and returns its bits,
              weight 0 those of the one before.
    interval: (t_lo, t_hi): frames with t outside t_lo < t <= t_hi see the last branch alone (arXiv 2404.07724).
    rescale:  in [0, 1], pulls the standard deviation of the guided prediction towards that of the last branch, per
              sample (arXiv 2305.08891, eq. 15 and 16); 0.7 there.
    process:  the paper measures those deviations on what the network predicts; give the process to do the same.
              Without it they are measured on x0.

    What a network says of its variance is not guided: it is that of the last branch, as published code has it.

    Raises ValueError for an empty list, an unknown branch, a first weight other than 1, or values out of range.
    """
    if not weights:
        raise ValueError("the guidance list is empty. Try [('cond', 1.0)] for no guidance.")
    for name, _ in weights:
        if name not in branches:
            raise ValueError(f"the guidance list names branch {name!r}; there are {', '.join(map(repr, branches))}.")
    if not (isinstance(weights[0][1], int | float) and weights[0][1] == 1):
        raise ValueError(f"the first entry has weight {weights[0][1]!r}: the sum starts there. Try 1.")
    if interval is not None and not 0 <= interval[0] < interval[1] <= 1:
        raise ValueError(f"interval={interval}: guidance acts for t_lo < t <= t_hi within [0, 1]. Try (0.2, 0.9).")
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale={rescale}: 0 keeps the guided prediction, 1 takes the whole deviation. Try 0.7.")
    names = [name for name, _ in weights]

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        levels = [_resolve(weight, t, interval) for _, weight in weights[1:]]
        kept = _needed(names, levels)
        if len(kept) == 1:
            return branches[kept[0][0]](x, t)
        answers = ask(branches, list(dict.fromkeys([name for name, _ in kept] + names[-1:] * (rescale > 0))), x, t)
        guided = previous = answers[kept[0][0]]
        for k, (name, level) in enumerate(kept[1:]):
            now = answers[name]
            w = level if level.ndim == 0 else expand_t(level, x)
            # lerp is exact at 0 and at 1, so a frame of weight 1 beside guided frames keeps its bits too
            guided = torch.lerp(guided, now, w.to(now)) if k == 0 else guided + w.to(now) * (now - previous)
            previous = now
        if rescale > 0:
            guided = _rescale(guided, answers[names[-1]], x, t, rescale, process)
        return guided

    share = getattr(branches[names[-1]], "share", None)
    return denoise if share is None else WithVariance(denoise, share)


def oscillating(times: Tensor, *, high: float = 15.0, low: float = 1.0, constant: int = 5) -> Callable[[Tensor], Tensor]:
    """A weight that is high for the first `constant` steps and then low, high, low, ... (Imagen Video, arXiv 2210.02303, section 2.5).

    times: (M + 1,) the falling levels of the sampler's steps; a frame at any other level has the weight of the nearest one.
    """
    times = times.detach().to(torch.float64)

    def weight(t: Tensor) -> Tensor:
        step = (t.to(torch.float64)[..., None] - times.to(t.device)).abs().argmin(-1)
        return torch.where((step < constant) | ((step - constant) % 2 == 1), high, low)

    return weight


def _resolve(weight: Weight, t: Tensor, interval: tuple[float, float] | None) -> Tensor:
    """A weight as a 0-d tensor, (B,), (1, T) or (B, T); 1 outside the interval, where only the last branch is left."""
    level = torch.as_tensor(weight(t) if callable(weight) else weight, dtype=torch.float32, device=t.device)
    if level.ndim == 1 and t.ndim == 2:
        level = level[None, :]
    if interval is not None:
        inside = (t > interval[0]) & (t <= interval[1])
        level = torch.where(inside, level, 1.0)
    return level


def _needed(names: list[str], levels: list[Tensor]) -> list[tuple[str, Tensor]]:
    """The entries that do not cancel. e_k has the coefficient w_k - w_(k+1), with w_0 = 1 and 0 after the last.

    Where two neighbours' weights are equal the earlier entry vanishes from the sum, and the rest folds as before.
    """
    ladder = [torch.ones(()), *levels, torch.zeros(())]
    return [(name, ladder[k]) for k, name in enumerate(names) if bool((ladder[k] != ladder[k + 1]).any())]


def _rescale(guided: Tensor, last: Tensor, x: Tensor, t: Tensor, share: float, process: Process | None) -> Tensor:
    """share * guided * std(last) / std(guided) + (1 - share) * guided, stds per sample, on x0 or on the prediction."""
    if process is not None:
        eps, eps_last = process.to_eps(guided, x, t), process.to_eps(last, x, t)
        guided, last = process.target(guided, eps, t), process.target(last, eps_last, t)
    axes = tuple(range(1, x.ndim))
    ratio = last.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    guided = share * guided * ratio + (1.0 - share) * guided
    return guided if process is None else process.to_x0(guided, x, t)
