"""Learn to denoise clips, and stills among them, that are told just as a request tells them: by the system's own condition recipe.

Every row of a batch is a clip or gives a still, by its number. Three forms of joint training:

    append    stills stand behind the frames of a clip, and the network keeps them apart (VDM arXiv:2204.03458, LaVie arXiv:2309.15103)
    separate  stills are a call of their own, clips of one frame (Make-A-Video arXiv:2209.14792)
    ranks     some processes see stills alone (ModelScopeT2V arXiv:2308.06571)

All that chance decides about a row comes from the row's own seed and number, so its loss does not depend on its neighbours.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flipbook import parallel
from flipbook.conditions import Request, Size
from flipbook.data.batch import Batch
from flipbook.data.seeds import derive_seed
from flipbook.long.known import Shown
from flipbook.nn.causal import latent_mask
from flipbook.nn.doors import Doors
from flipbook.objectives.base import Losses
from flipbook.objectives.denoising import even_shares
from flipbook.objectives.entering import animated, entered, said
from flipbook.objectives.groups import Train, learn
from flipbook.objectives.known import KnownFrames
from flipbook.process.noise import initial_noise
from flipbook.process.process import Process
from flipbook.process.variance import vlb
from flipbook.systems.base import System

Form = Literal["append", "separate", "ranks"]
SILENCE = 0.1
"""Share of rows that are shown nothing, so that guidance has a null branch."""


@dataclass(frozen=True, kw_only=True)
class ConditionedOptions:
    """train: parts or groups that learn.   drop_text: share of rows whose sentence becomes empty, or whose class none (1: clips without captions).

    known:   which frames the network is told, see `KnownFrames`; None: none.
    count_known: the loss counts them too, so that a network that is told them beside the noisy clip learns to give them back.
    shown:   the network is told how one frame of the clip looks (`Shown`), but for a tenth of the rows.
    animate: the network is told the clip's first frame, noised, and how much moves (Stable Video Diffusion), but for a tenth of the rows.
    motion_free: share of clips whose frames are kept apart as stills are, so that guidance has a branch without motion (arXiv:2312.04557).
    estimate: share of rows in which the network is told its own first answer, as in sampling (self-conditioning, arXiv:2208.04202).
    form:    how stills ride along.   stills: so many of them for each clip; 0: clips alone.
    still_ranks: with "ranks", how many of the processes see stills.
    times:   noise levels are drawn from this range; an expert for the low ones ends below 1 (Show-1's last stage).
    logit_normal: mean and deviation of ln(t / (1 - t)), from which times are drawn then, and not evenly (arXiv:2403.03206, 3.1).
    log_normal: mean and deviation of ln(sigma / alpha), from which levels are drawn then, and not evenly (EDM, arXiv:2206.00364).
    loss:    "l2", or "l1" (LVDM, arXiv:2211.13221).
    min_snr: levels with a signal-to-noise ratio above it count less (arXiv:2303.09556, 5 there); 0: all count alike.
    offset_noise: how much of the noise all frames and cells of a channel have in common, so that brightness is learnt at high levels too (Zeroscope
             XL; 0.1 is usual); 0: nothing.
    vlb:     weight of what the whole chain costs in bits per number, which teaches the variance (arXiv:2102.09672, eq. 16, 0.001 there); 0: nothing does.
    """

    train: Train = ("denoiser",)
    drop_text: float = 0.1
    known: KnownFrames | None = None
    count_known: bool = False
    shown: bool = False
    animate: bool = False
    motion_free: float = 0.0
    estimate: float = 0.0
    form: Form = "append"
    stills: int = 0
    still_ranks: int = 1
    times: tuple[float, float] = (0.0, 1.0)
    logit_normal: tuple[float, float] | None = None
    log_normal: tuple[float, float] | None = None
    loss: Literal["l2", "l1"] = "l2"
    min_snr: float = 0.0
    offset_noise: float = 0.0
    vlb: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", tuple(self.times))
        if isinstance(self.known, Mapping):
            object.__setattr__(self, "known", KnownFrames(**self.known))
        if self.form not in get_args(Form):
            raise ValueError(f"form={self.form!r} is unknown. Try one of {', '.join(get_args(Form))}.")
        if not 0 <= self.times[0] < self.times[1] <= 1:
            raise ValueError(f"times={self.times}: a range of noise levels within [0, 1]. Try [0, 1].")


@dataclass(frozen=True, eq=False, kw_only=True)
class Rows:
    """What a network call is made of: N clips of T frames, or N stills (T = 1).

    z0, eps, x:  (N, C, T, h, w) clean, noise, and what the network sees.   t: (N, T).
    is_given:    (N, T) bool, frames that stand in x as known.   index: (N, T).   counts: (N, T) bool, frames that the loss counts.
    still:       (N, T) bool, the image-only switch.   again: (N, T) bool, rows that are told the network's own first answer.
    """

    z0: Tensor
    eps: Tensor
    x: Tensor
    t: Tensor
    is_given: Tensor
    index: Tensor
    counts: Tensor
    still: Tensor
    again: Tensor
    doors: Doors = field(default_factory=Doors)


class Conditioned:
    """E over t and eps of |net(x, t, what is told) - target|^2 on the frames that are not known, or on all (`count_known`)."""

    def __init__(self, system: System, options: ConditionedOptions, place: tuple[int, int] = (0, 1)):
        self.system, self.options = system, options
        self._trainable = learn(system.parts, options.train)
        rank, size = place
        self._all_stills = options.form == "ranks" and options.stills > 0 and rank < options.still_ranks
        self._period = 1 + options.stills if options.form != "ranks" else 1
        self._still_share = options.still_ranks / size if options.form == "ranks" else options.stills / self._period
        if options.stills and options.form == "ranks" and not options.still_ranks < size:
            raise ValueError(
                f"form='ranks' gives {options.still_ranks} of {size} process(es) stills and needs more processes than that. "
                "Start it with torchrun, or try form='separate'."
            )
        self._has_switch = "image_only" in inspect.signature(system.denoiser.forward).parameters
        if options.estimate and not getattr(system.denoiser.config, "self_conditioned", False):
            raise ValueError(f"this {type(system.denoiser).__name__} reads no estimate of its own. Try estimate=0, or self_conditioned in its config.")
        if options.vlb and system.denoiser.config.out_channels != 2 * system.denoiser.config.in_channels:
            raise ValueError(f"vlb={options.vlb} teaches a variance, and this {type(system.denoiser).__name__} predicts none. Try vlb=0.")
        if options.motion_free and not self._has_switch:
            raise ValueError(f"{type(system.denoiser).__name__} cannot keep the frames of a clip apart. Try motion_free=0.")
        if options.stills and options.form == "append" and system.classes:
            raise ValueError(f"stills={options.stills} behind a clip would be told its class. Try form='separate'.")
        if options.stills and options.form == "append" and not self._has_switch:
            raise ValueError(f"{type(system.denoiser).__name__} cannot keep stills apart from clips in one call. Try form='separate', or stills=0.")

    def trainable(self) -> nn.Module:
        return self._trainable

    def loss(self, batch: Batch, seeds: Sequence[int], *, t: Tensor | None = None) -> Losses:
        """One loss per row, (B,); `clips` and `stills` are logged apart, each as its own mean over many updates."""
        stills = [row for row in range(len(batch)) if self.gives_still(batch, row)]
        clips = [row for row in range(len(batch)) if row not in set(stills)]
        if t is None:
            t = self._shifted(self._times(batch, seeds), batch, stills)
        parts = [self.rows(batch, some, seeds, t, still) for some, still in ((clips, False), (stills, True)) if some]
        mixed = self.options.form == "separate" and self._period > 1 and batch.video.shape[2] > 1
        if mixed and len(parts) == 1 and torch.is_grad_enabled() and any(map(parallel.is_sharded, self._trainable.parameters())):
            raise ValueError(
                f"these {len(batch)} clips of one process give {'stills' if stills else 'clips'} alone, and processes that share weights call their networks "
                f"equally often. Try a micro_batch of {self._period} or more."
            )
        if len(parts) == 2 and self.options.form == "append":
            by_row = self._appended(*parts)
        else:
            by_row = torch.cat([self.errors(rows, self.predict(rows)) for rows in parts])
        loss = torch.empty_like(by_row).index_copy(0, torch.tensor([*clips, *stills], device=by_row.device), by_row)
        is_still = torch.zeros_like(loss).index_fill(0, torch.tensor(stills, dtype=torch.long, device=loss.device), 1.0)
        named = {}
        if self.options.stills:
            share = self._still_share
            named = {"clips": (loss * (1 - is_still) / (1 - share)).detach(), "stills": (loss * is_still / share).detach()}
        return Losses(loss=loss, t=t.to(loss.device), parts=named)

    def gives_still(self, batch: Batch, row: int) -> bool:
        """Whether a row gives a still: it is one, or its number says so."""
        if batch.video.shape[2] == 1 or self._all_stills:
            return True
        return batch.index[row] % self._period != 0

    def rows(self, batch: Batch, chosen: Sequence[int], seeds: Sequence[int], t: Tensor, still: bool, *, wordless: bool = False) -> Rows:
        """Some rows of a batch, told by the system's condition recipe. Of a row that gives a still, one frame is left.

        wordless: every sentence is empty, all else as it would be.
        """
        system, options = self.system, self.options
        chances = [torch.Generator().manual_seed(derive_seed(seeds[row], "conditions")) for row in chosen]
        drops = [torch.rand((), generator=chance).item() < options.drop_text for chance in chances]
        video = batch.video[list(chosen)]                                                      # (N, 3, T, H, W)
        index = batch.frame_index[list(chosen)] if system.index_fps else torch.arange(float(video.shape[2])).expand(len(chosen), -1)    # (N, T)
        if still:
            frame = [int(torch.randint(video.shape[2], (), generator=chance)) for chance in chances]
            video = torch.stack([one[:, [f]] for one, f in zip(video, frame, strict=True)])
            index = torch.stack([one[[f]] for one, f in zip(index, frame, strict=True)])
        ends = system.latent_ends(video.shape[2])
        if len(ends) < video.shape[2]:                                                         # frames are packed together: places of latent ones
            index = index[:, list(ends)] if system.index_fps else torch.arange(float(len(ends))).expand(len(chosen), -1)
        with torch.no_grad():
            z0 = system.autoencoder.encode(video).float()                                      # (N, C, T, h, w), T latent frames
        known = [options.known.of(clip, chance, ends) if options.known else None for clip, chance in zip(video, chances, strict=True)]
        texts = [said(system, "" if drop or wordless else batch.captions[row]) for row, drop in zip(chosen, drops, strict=True)]
        requests: list[Request] = [(text, *(() if one is None else (one,))) for text, one in zip(texts, known, strict=True)]
        if options.shown:
            show = [torch.rand(2, generator=chance).tolist() for chance in chances]           # which frame, and whether
            frames = [min(int(frame * video.shape[2]), video.shape[2] - 1) for frame, _ in show]
            requests = [
                request if wordless or told < SILENCE else (*request, Shown(clip[:, frame]))
                for request, clip, frame, (_, told) in zip(requests, video, frames, show, strict=True)
            ]
        silent = [False] * len(chosen)
        if options.animate:
            silent = [torch.rand((), generator=chance).item() < SILENCE for chance in chances]
            moves = [batch.extra[row].get("motion") if batch.extra else None for row in chosen]
            requests = [(*request, *animated(clip, move, chance)) for request, clip, move, chance in zip(requests, video, moves, chances, strict=True)]
        apart = [bool(options.motion_free) and torch.rand((), generator=chance).item() < options.motion_free for chance in chances]
        again = [bool(options.estimate) and torch.rand((), generator=chance).item() < options.estimate for chance in chances]
        size = Size(num_frames=video.shape[2], fps=float(batch.fps[chosen[0]]), height=video.shape[3], width=video.shape[4])
        fps = [float(batch.fps[row]) for row in chosen]
        inputs = entered(system, requests, size, z0.shape[1:], [seeds[row] for row in chosen], fps, silent, z0.device)
        eps = torch.stack([torch.randn(z0.shape[1:], generator=torch.Generator().manual_seed(seeds[row])) for row in chosen]).to(z0)
        if options.offset_noise:
            eps = eps + options.offset_noise * initial_noise((z0.shape[1], 1, 1, 1), [derive_seed(seeds[row], "offset") for row in chosen]).to(z0)
        levels = z0.new_tensor([0.0 if one is None else one.level for one in known])
        frame_t = torch.where(inputs.is_given, levels[:, None], t[list(chosen)].to(z0)[:, None])
        x = torch.where(inputs.is_given[:, None, :, None, None], inputs.given, system.process.add_noise(z0, eps, frame_t))
        seen = torch.zeros(len(chosen), video.shape[2], dtype=torch.bool, device=z0.device)
        for n, one in enumerate(known):
            if one is not None and one.places is not None and not options.count_known:
                seen[n, list(one.places)] = True
        hidden = ~latent_mask(seen, ends)
        return Rows(
            z0=z0, eps=eps, x=x, t=frame_t, is_given=inputs.is_given, index=index.to(z0.device), counts=hidden,
            still=torch.full_like(inputs.is_given, still) | z0.new_tensor(apart, dtype=torch.bool)[:, None], doors=inputs.doors,
            again=z0.new_tensor(again, dtype=torch.bool)[:, None].expand_as(inputs.is_given),
        )  # fmt: skip

    def predict(self, rows: Rows, x: Tensor | None = None, t: Tensor | None = None, doors: Doors | None = None) -> Tensor:
        """The network's answer for rows, or for other states and levels of the same rows."""
        x, t, doors = rows.x if x is None else x, rows.t if t is None else t, rows.doors if doors is None else doors
        if self.options.estimate:                                           # even where no row is told: processes that share weights ask together
            with torch.no_grad():
                first = self.system.process.to_x0(self._asked(rows, x, t, doors), x, t)
            doors = doors.with_(estimate=first * rows.again[:, None, :, None, None])
        return self._asked(rows, x, t, doors)

    def _asked(self, rows: Rows, x: Tensor, t: Tensor, doors: Doors) -> Tensor:
        switch = {"image_only": rows.still} if self._has_switch and rows.still.any() else {}
        return self.system.denoiser(
            self.system.process.network_input(x, t), self.system.process.network_time(t), doors,
            frame_is_given=rows.is_given, frame_index=rows.index, **switch,
        ).float()  # fmt: skip

    def errors(self, rows: Rows, prediction: Tensor) -> Tensor:
        """(N,) the mean error of the frames that count."""
        by_frame = self._by_frame(rows, prediction)
        return (by_frame * rows.counts).sum(1) / rows.counts.sum(1).clamp(min=1)

    def _by_frame(self, rows: Rows, prediction: Tensor) -> Tensor:
        target = self.system.process.target(rows.z0, rows.eps, rows.t)
        error = prediction[:, : target.shape[1]] - target                                      # further channels are a variance
        error = error.abs() if self.options.loss == "l1" else error.square()
        weight = min_snr_weight(self.system.process, rows.t, self.options.min_snr) if self.options.min_snr else 1.0
        by_frame = error.mean((1, 3, 4)) * weight                                              # (N, T)
        if not self.options.vlb:
            return by_frame
        levels = getattr(self.system.process.path, "num_levels", 1000)                         # of all its steps, one was drawn
        return by_frame + self.options.vlb * levels * vlb(self.system.process, rows.z0, rows.x, prediction, rows.t, levels)

    def _appended(self, clips: Rows, stills: Rows) -> Tensor:
        """Losses of the clips, then of the stills, from one call in which the stills stand behind the clips' frames."""
        n, m, frames = len(clips.t), len(stills.t), clips.t.shape[1]
        per_clip = -(-m // n)
        place = torch.arange(n * per_clip, device=clips.t.device)
        taken, real = place % m, place < m                                                     # the last clip's missing stills are copies
        by_frame = self._by_frame(together := behind(clips, stills, taken, per_clip), self.predict(together))
        of_clips = (by_frame[:, :frames] * clips.counts).sum(1) / clips.counts.sum(1).clamp(min=1)
        return torch.cat([of_clips, by_frame[:, frames:].flatten()[real]])

    def _shifted(self, times: Tensor, batch: Batch, stills: Sequence[int]) -> Tensor:
        """Times (B,) as the system runs through them for clips of this size, and for single frames of it."""
        frames, height, width = batch.video.shape[2:]
        size = Size(num_frames=frames, fps=1.0, height=height, width=width)
        moved = self.system.shifted(times, size)
        return moved.index_copy(0, torch.tensor(stills), self.system.shifted(times[stills], replace(size, num_frames=1))) if stills else moved

    def _times(self, batch: Batch, seeds: Sequence[int]) -> Tensor:
        if self.options.log_normal is not None:
            mean, deviation = self.options.log_normal
            normal = torch.special.ndtri(even_shares(batch.index, seeds).double().clamp(1e-4, 1 - 1e-4))
            return self.system.process.path.time_at(torch.exp(mean + deviation * normal)).float()
        if self.options.logit_normal is not None:
            mean, deviation = self.options.logit_normal
            return torch.sigmoid(mean + deviation * torch.special.ndtri(even_shares(batch.index, seeds).clamp(1e-4, 1 - 1e-4)))
        low, high = self.options.times
        return low + (high - low) * even_shares(batch.index, seeds)

    @torch.no_grad()
    def samples(self, batch: Batch, prompts: Sequence[str], seed: int) -> Tensor | None:
        """A clip for each prompt, told as much of the validation clips as training tells, by the system's own defaults."""
        from flipbook.long.stage import sample_stage

        _, _, num_frames, height, width = batch.video.shape
        made = []
        for n, prompt in enumerate(prompts):
            chance = torch.Generator().manual_seed(derive_seed(seed, "conditions", n))
            ends = self.system.latent_ends(num_frames)
            known = self.options.known.of(batch.video[n % len(batch)], chance, ends) if self.options.known else None
            made.append(sample_stage(
                self.system, [(said(self.system, prompt), *(() if known is None else (known,)))], num_frames=num_frames,
                fps=float(batch.fps[0]), height=height, width=width, seeds=[derive_seed(seed, n)],
                **{key: self.system.defaults[key] for key in ("num_inference_steps", "guidance_scale", "sampler")},
            ))  # fmt: skip
        return torch.cat(made)

    def save(self, folder: Path) -> None:
        from flipbook.interop.folder import save_pretrained

        save_pretrained(self.system, folder)


def behind(clips: Rows, stills: Rows, taken: Tensor, per_clip: int) -> Rows:
    """Rows in which each clip has `per_clip` of the stills behind its frames; taken (N per_clip,) says which ones, clip by clip."""
    n = len(clips.t)

    def over(key: str) -> Tensor:
        """(N, C, T, ...) and (M, C, 1, ...) to (N, C, T + K, ...)."""
        a, b = getattr(clips, key), getattr(stills, key)[taken]
        if a.dim() == 2:
            return torch.cat([a, b.view(n, per_clip)], dim=1)
        return torch.cat([a, b[:, :, 0].unflatten(0, (n, per_clip)).transpose(1, 2)], dim=2)

    doors, frames = clips.doors, clips.t.shape[1]
    tokens, mask = doors.tokens, doors.token_mask
    if tokens is not None and stills.doors.tokens is not None:
        longest = max(tokens.shape[1], stills.doors.tokens.shape[1])
        tokens, mask = _per_frame(doors, longest, n, frames, None)
        more, more_mask = _per_frame(stills.doors, longest, n, per_clip, taken)
        tokens, mask = torch.cat([tokens, more], dim=1), torch.cat([mask, more_mask], dim=1)
    channels = doors.channels
    if channels is not None and stills.doors.channels is not None:
        channels = torch.cat([channels, stills.doors.channels[taken][:, :, 0].unflatten(0, (n, per_clip)).transpose(1, 2)], dim=2)
    values = {f.name: over(f.name) for f in fields(Rows) if f.name != "doors"}
    return Rows(**values, doors=replace(doors, tokens=tokens, token_mask=mask, channels=channels, keys_values=None))


def _per_frame(doors: Doors, length: int, batch: int, frames: int, taken: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens (B, T, L, D) and their mask (B, T, L): of a clip for all its frames, or of the stills taken."""
    tokens = doors.tokens
    assert tokens is not None
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if doors.token_mask is None else doors.token_mask
    tokens, mask = F.pad(tokens, (0, 0, 0, length - tokens.shape[1])), F.pad(mask, (0, length - mask.shape[1]))
    if taken is None:
        return tokens[:, None].expand(-1, frames, -1, -1), mask[:, None].expand(-1, frames, -1)
    return tokens[taken].unflatten(0, (batch, frames)), mask[taken].unflatten(0, (batch, frames))


def min_snr_weight(process: Process, t: Tensor, gamma: float) -> Tensor:
    """min(SNR, gamma) as a weight of the loss on x0, turned into one on what the network predicts (arXiv:2303.09556, eq. 5)."""
    alpha, sigma = process.path.alpha(t), process.path.sigma(t)
    snr = (alpha / sigma.clamp(min=1e-6)).square()
    capped = snr.clamp(max=gamma)
    if process.predicts == "x0":
        return capped
    if process.predicts == "eps":
        return capped / snr.clamp(min=1e-8)
    if process.predicts == "v":
        return capped / (snr + 1.0)
    raise ValueError(f"min_snr weights eps, x0 and v; this system predicts {process.predicts!r}. Try min_snr=0.")


def place() -> tuple[int, int]:
    """(rank, size) of this process among those that share a batch."""
    import torch.distributed as dist

    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


def build(system: System, options: Mapping[str, Any]) -> Conditioned:
    """The objective over a system. Raises ValueError for an unknown option, part or group."""
    known = {f.name for f in fields(ConditionedOptions)}
    if unknown := set(options) - known:
        raise ValueError(f"conditioned has no option {sorted(unknown)}. Try some of {', '.join(sorted(known))}.")
    return Conditioned(system, ConditionedOptions(**options), place())
