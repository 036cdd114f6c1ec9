"""Known frames: what an earlier stage or pass made of a clip, and the ways in which it enters a network.

Super-resolution, interpolation, prediction and extension differ in nothing but where the known frames stand, how they are
laid out, and how much noise they are told to carry. Training takes them from clips (`objectives/conditioned.py`), a cascade from
the stage before (`long/cascade.py`); both go through the same `Entrance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from flipbook.conditions import Condition, Entrance, Inputs, Request, first_of
from flipbook.data.seeds import derive_seed
from flipbook.nn.causal import latent_mask
from flipbook.process.noise import initial_noise
from flipbook.process.process import expand_t
from flipbook.shapes import fold_frames, unfold_frames

if TYPE_CHECKING:
    from flipbook.systems.base import System


@dataclass(frozen=True, eq=False, kw_only=True)
class Known(Condition):
    """Frames that are known, in whatever size, at known places of the clip.

    frames: (3, K, H', W') in [-1, 1].   places: where they stand, counted from 0; None: one for each frame of the clip.
    level:  noise level in [0, 1] to which they are brought before the network sees them (noise augmentation); where the
            network reads it, the same number is told, or `declared` if that is not None.
    clean:  places among them whose frames stay without noise: a frame that the chunk before has finished stands as it is beside drafts.
    """

    frames: Tensor
    places: tuple[int, ...] | None = None
    level: float = 0.0
    declared: float | None = None
    clean: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Shown(Condition):
    """A picture (3, H, W) in [-1, 1] that the clip looks like, for systems that read its embedding instead of words."""

    picture: Tensor


Layout = Callable[[Tensor, Tensor], Tensor]
"""(known frames (B, C, T, h, w), 0 elsewhere; mask (B, 1, T, h, w), 1 = known) to the channels that the network reads."""


def plain(known: Tensor, mask: Tensor) -> Tensor:
    """The frames alone, where all are known: C channels."""
    return known


def masked(known: Tensor, mask: Tensor) -> Tensor:
    """Known frames, zeros elsewhere, and the mask: C + 1 channels (masked-frame conditioning)."""
    return torch.cat([known, mask], dim=1)


def blended(known: Tensor, mask: Tensor) -> Tensor:
    """Unknown frames fade linearly from the known one before to the known one after, and the mask: C + 1 channels (Show-1)."""
    before, after, share = _neighbours(mask[:, 0, :, 0, 0] > 0)
    left, right = (torch.gather(known, 2, i[:, None, :, None, None].expand_as(known)) for i in (before, after))
    return torch.cat([torch.lerp(left, right, share.to(known)[:, None, :, None, None]), mask], dim=1)


def held(known: Tensor, mask: Tensor) -> Tensor:
    """Each known frame again until the next one: C channels (frames repeated to the target rate, Imagen Video)."""
    before, _, _ = _neighbours(mask[:, 0, :, 0, 0] > 0)
    return torch.gather(known, 2, before[:, None, :, None, None].expand_as(known))


def by_channels(layout: Layout, *, told_as: float | None = None) -> Entrance:
    """Known frames into the `channels` door. Null, and without a `Known`: nothing is known.

    told_as: their level times this number is one more column of the `vector` door: 1, or the number of levels of a table.
    """

    def enter(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
        known, mask, level = noised(system, [known_of(request) for request in requests], inputs)
        doors, channels = inputs.doors, layout(known, mask)
        doors = doors.with_(channels=channels if doors.channels is None else torch.cat([doors.channels, channels], dim=1))
        if told_as is not None:
            column = told_as * level
            doors = doors.with_(vector=column if doors.vector is None else torch.cat([doors.vector, column], dim=1))
        return replace(inputs, doors=doors)

    def null(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
        return enter(system, [() for _ in requests], inputs)

    return Entrance(name="known", kinds=(Known,), enter=enter, null=null)


def known_by_frames(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """Known frames into the `frames` door: they stand in the noisy clip at their own level.

    The noise-level matrix must hold their columns there: `levels_with_given` (LVDM, arXiv:2211.13221).
    """
    known, mask, _ = noised(system, [known_of(request) for request in requests], inputs)
    is_given = mask[:, 0, :, 0, 0] > 0
    given = torch.where(is_given[:, None, :, None, None], known, inputs.given)
    return replace(inputs, is_given=inputs.is_given | is_given, given=given)


def mark_known(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """One channel of the `channels` door that is 1 in the frames of the `frames` door."""
    mark = inputs.is_given[:, None, :, None, None].to(inputs.given).expand_as(inputs.given[:, :1])
    return replace(inputs, doors=inputs.doors.with_(channels=mark))


def mark_nothing(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The null of `mark_known`: zeros."""
    return replace(inputs, doors=inputs.doors.with_(channels=torch.zeros_like(inputs.given[:, :1])))


BY_FRAMES = Entrance(name="known", kinds=(Known,), enter=known_by_frames)
MARK = Entrance(name="mark", kinds=(), enter=mark_known, null=mark_nothing)


def known_of(request: Request) -> Known | None:
    """The known frames of a request, if it has some."""
    return first_of(request, Known)


def noised(system: System, requests: Sequence[Known | None], inputs: Inputs) -> tuple[Tensor, Tensor, Tensor]:
    """Known frames on the latent grid, at their levels.

    Returns them (B, C, T, h, w), 0 elsewhere, their mask (B, 1, T, h, w) and the levels to tell (B, 1).
    Raises ValueError for places outside the clip, as many frames as there are no places for, or clean places where nothing is known.
    """
    like, path = inputs.given, system.process.path
    known, mask, levels = torch.zeros_like(like), torch.zeros_like(like[:, :1]), like.new_zeros(len(requests), 1)
    for row, (given, seed) in enumerate(zip(requests, inputs.seeds, strict=True)):
        if given is None or given.places == ():
            continue
        places = list(range(inputs.size.num_frames) if given.places is None else given.places)
        if len(places) != given.frames.shape[1] or not 0 <= min(places) <= max(places) < inputs.size.num_frames:
            raise ValueError(
                f"{given.frames.shape[1]} known frames at places {places} do not fit a clip of {inputs.size.num_frames} frames. "
                "Give one place within the clip for each frame."
            )
        if not set(given.clean) <= set(places):
            raise ValueError(f"clean={given.clean}: frames without noise are some of those that are known, at places {places}.")
        pixels = resized(given.frames[None].to(like.device), inputs.size.height, inputs.size.width)
        z, places = _encoded(system, pixels, places, inputs.size.num_frames)
        z = z.to(like.dtype)                                                # (1, C, K', h, w)
        if given.level > 0:
            t = torch.full((1,), given.level, device=like.device)
            eps = initial_noise(like.shape[1:], [derive_seed(seed, "known")]).to(like)[:, :, places]    # noise belongs to a place
            noisy = expand_t(path.alpha(t), z) * z + expand_t(path.sigma(t), z) * eps
            z = torch.where(_stay_clean(system, given, places, inputs.size.num_frames).to(like.device)[:, None, None], z, noisy)
        known[row, :, places] = z[0]
        mask[row, :, places] = 1.0
        levels[row] = given.level if given.declared is None else given.declared
    return known, mask, levels


def _stay_clean(system: System, given: Known, places: list[int], num_frames: int) -> Tensor:
    """Bool (K',): which of the known latent frames hold nothing but frames without noise."""
    clean = torch.zeros(1, num_frames, dtype=torch.bool)
    clean[:, list(given.clean)] = True
    return latent_mask(clean, system.latent_ends(num_frames))[0, places]


def _encoded(system: System, pixels: Tensor, places: list[int], num_frames: int) -> tuple[Tensor, list[int]]:
    """Known frames (1, 3, K, H, W) to their latents and the places of those among the clip's latent frames.

    An autoencoder that packs frames together sees them in a clip that is gray elsewhere; a latent frame is known if all that it packs is.
    Raises ValueError for frames that fill no whole latent frames.
    """
    ends = system.latent_ends(num_frames)
    if len(ends) == num_frames:
        return system.autoencoder.encode(pixels), places
    known = torch.zeros(1, num_frames, dtype=torch.bool)
    known[:, places] = True
    packed = latent_mask(known, ends)[0]
    if int(known.sum()) != sum(end - start for start, end, whole in zip((-1, *ends[:-1]), ends, packed, strict=True) if whole):
        raise ValueError(
            f"known frames {places} fill no whole latent frames: the autoencoder packs frames up to {', '.join(map(str, ends))}. "
            f"Try the first {ends[min(1, len(ends) - 1)] + 1} frames."
        )
    clip = pixels.new_zeros(*pixels.shape[:2], num_frames, *pixels.shape[3:])
    clip[:, :, places] = pixels
    found = packed.nonzero().flatten().tolist()
    return system.autoencoder.encode(clip)[:, :, found], found


def resized(video: Tensor, height: int, width: int) -> Tensor:
    """(B, C, T, H, W) at another size: bilinear upwards, averages of areas downwards."""
    if video.shape[-2:] == (height, width):
        return video
    frames = fold_frames(video)
    if height < video.shape[-2]:
        return unfold_frames(F.interpolate(frames, (height, width), mode="area"), video.shape[0])
    return unfold_frames(F.interpolate(frames, (height, width), mode="bilinear", align_corners=False), video.shape[0])


def _neighbours(known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each frame (B, T): the known frame at or before it, the one at or after it, and how far it stands between them.

    Frames before the first known one have it on both sides, so have those after the last; with none known: frame 0.
    """
    frame = torch.arange(known.shape[1], device=known.device).expand_as(known)
    last = known.shape[1]
    before = torch.where(known, frame, -1).cummax(dim=1).values
    after = torch.where(known, frame, last).flip(1).cummin(dim=1).values.flip(1)
    before, after = torch.where(before < 0, after, before), torch.where(after == last, before, after)
    nothing = ~known.any(dim=1, keepdim=True)
    before, after = before.masked_fill(nothing, 0), after.masked_fill(nothing, 0)
    return before, after, (frame - before).clamp(min=0) / (after - before).clamp(min=1)
