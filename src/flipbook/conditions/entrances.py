"""The entrances that published systems share, and the recipes made of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from flipbook.conditions.given import (
    Choice,
    ClassLabel,
    Draft,
    FirstFrame,
    Frames,
    LastFrame,
    Motion,
    MotionSeed,
    NoiseAugmentation,
    Request,
    Size,
    Text,
    first_of,
    pictures_of,
    text_of,
)
from flipbook.conditions.recipe import Entrance, Inputs
from flipbook.data.seeds import derive_seed
from flipbook.hints import nearest
from flipbook.shapes import pixels_to_tensor

if TYPE_CHECKING:
    from flipbook.systems.base import System

Number = Callable[[Request, Size], float]

# ---------------------------------------------------------------- text


def text_tokens(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The sentence by the text encoder into the `tokens` door."""
    return _tokens(system, [text_of(request).prompt for request in requests], inputs)


def null_tokens(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The negative prompt, by default the empty sentence, into the `tokens` door."""
    return _tokens(system, [text_of(request).negative_prompt for request in requests], inputs)


def _tokens(system: System, sentences: list[str], inputs: Inputs) -> Inputs:
    rows, mask = system.text_encoder.encode(sentences)
    return replace(inputs, doors=inputs.doors.with_(tokens=rows, token_mask=mask))


# ---------------------------------------------------------------- pictures


def given_frames(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """Given pictures by the autoencoder into the `frames` door: their latents stand in the clip at noise level 0.

    Each is encoded as an image of its own. Where frames are packed together it stands for all that its latent frame packs.
    Raises ValueError for two pictures in one latent frame.
    """
    is_given, given = inputs.is_given.clone(), inputs.given.clone()
    ends = system.latent_ends(inputs.size.num_frames)
    for row, request in enumerate(requests):
        for frame, picture in sorted(pictures_of(request).items()):
            place = bisect_left(ends, frame)
            if is_given[row, place]:
                raise ValueError(f"frame {frame} and one before it are packed in one latent frame, which one picture fills. Leave one of them out.")
            pixels = pixels_to_tensor(picture[None])[None].to(given.device)  # (1, 3, 1, H, W)
            is_given[row, place] = True
            given[row, :, place] = system.autoencoder.encode(pixels)[0, :, 0].to(given.dtype)
    return replace(inputs, is_given=is_given, given=given)


def animated_picture(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The first frame by two doors, as in Stable Video Diffusion (arXiv:2311.15127).

    `tokens`: its row by the image encoder. `channels`: its raw latent, without the latent normaliser, beside every frame; noise of
    `NoiseAugmentation.level` is added to the picture before the autoencoder, not before the image encoder.
    """
    images = torch.stack([pixels_to_tensor(pictures_of(request)[0][None])[:, 0] for request in requests]).to(inputs.given)  # (B, 3, H, W)
    levels = [noise_level(request, inputs.size) for request in requests]
    noise = torch.stack([torch.randn(images.shape[1:], generator=augmentation_noise(seed)) for seed in inputs.seeds]).to(images)
    noisy = images + images.new_tensor(levels)[:, None, None, None] * noise
    raw, _ = system.autoencoder.posterior(noisy)                             # (B, C, h, w)
    beside = raw[:, :, None].expand(-1, -1, inputs.size.num_frames, -1, -1)
    rows = system.image_encoder.encode(images)                               # (B, L, D)
    mask = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    return replace(inputs, doors=inputs.doors.with_(tokens=rows, token_mask=mask, channels=beside))


def no_picture(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The null of `animated_picture`: zeros by both doors."""
    config, batch = system.denoiser.config, len(requests)
    tokens = inputs.given.new_zeros(batch, 1, config.text_dim)
    channels = inputs.given.new_zeros(batch, config.channel_door, *inputs.given.shape[2:])
    mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return replace(inputs, doors=inputs.doors.with_(tokens=tokens, token_mask=mask, channels=channels))


def text_and_picture(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The sentence into the `tokens` door and the first frame, by the image encoder, into that of `picture_tokens`, as in VideoCrafter's
    image-to-video model (arXiv:2310.19512, 3.2)."""
    images = torch.stack([pixels_to_tensor(pictures_of(request)[0][None])[:, 0] for request in requests]).to(inputs.given)  # (B, 3, H, W)
    return _with_picture(system, images, text_tokens(system, requests, inputs))


def null_text_and_gray(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The null of `text_and_picture`: the negative prompt and the rows of an even gray picture, as its authors' code has them."""
    gray = inputs.given.new_zeros(len(requests), 3, inputs.size.height, inputs.size.width)
    return _with_picture(system, gray, null_tokens(system, requests, inputs))


def _with_picture(system: System, images: Tensor, inputs: Inputs) -> Inputs:
    return replace(inputs, doors=inputs.doors.with_(picture_tokens=system.image_encoder.encode(images)))


def augmentation_noise(seed: int) -> torch.Generator:
    """What draws the noise of `NoiseAugmentation` for a sample of this seed."""
    return torch.Generator().manual_seed(derive_seed(seed, "noise augmentation"))


# ---------------------------------------------------------------- a draft


def noised_draft(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The draft's latents as where the run starts. Raises ValueError if some of the batch have one and others none, or another strength."""
    drafts = [first_of(request, Draft) for request in requests]
    kept = [draft for draft in drafts if draft is not None]
    if not kept:
        return inputs
    strengths = {draft.strength for draft in kept}
    if len(kept) < len(drafts) or len(strengths) > 1:
        raise ValueError("the videos of one batch start at different strengths of their drafts. Try batch_size=1.")
    pixels = torch.stack([pixels_to_tensor(draft.clip) for draft in kept]).to(inputs.given.device)  # type: ignore[arg-type]
    return replace(inputs, draft=system.autoencoder.encode(pixels).to(inputs.given), strength=strengths.pop())


# ---------------------------------------------------------------- numbers


def frame_rate(request: Request, size: Size) -> float:
    """Frames per second."""
    return size.fps


def frame_rate_less_one(request: Request, size: Size) -> float:
    """Frames per second, less one: Stable Video Diffusion counted so in training."""
    return size.fps - 1.0


def motion_bucket(request: Request, size: Size) -> float:
    """`Motion.bucket`."""
    return (first_of(request, Motion) or Motion()).bucket


def noise_level(request: Request, size: Size) -> float:
    """`NoiseAugmentation.level`."""
    return (first_of(request, NoiseAugmentation) or NoiseAugmentation()).level


def numbers(*columns: Number) -> Entrance:
    """Numbers about each request and its clip into the `vector` door, one column each, in all branches of guidance."""
    defaults = {motion_bucket: Motion(), noise_level: NoiseAugmentation()}
    used = tuple(defaults[column] for column in columns if column in defaults)
    return Entrance(name="numbers", kinds=tuple(type(one) for one in used), enter=partial(_enter_numbers, columns), defaults=used)


def _enter_numbers(columns: tuple[Number, ...], system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    rows = [[column(request, inputs.size) for column in columns] for request in requests]
    vector: Tensor = torch.tensor(rows, dtype=torch.float32, device=inputs.given.device)
    return replace(inputs, doors=inputs.doors.with_(vector=vector))


# ---------------------------------------------------------------- a class


def class_row(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The class into the `vector` door: a column for each of the system's, and a last one that says none of them."""
    return _classes(system, [(first_of(request, ClassLabel) or ClassLabel()).name for request in requests], inputs)


def no_class(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """None of the classes, for all."""
    return _classes(system, [""] * len(requests), inputs)


def _classes(system: System, names: Sequence[str], inputs: Inputs) -> Inputs:
    known = (*system.classes, "")
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"class {strange[0]!r} is none of the {len(system.classes)} that {system.name} was taught. {nearest(strange[0], system.classes)}")
    vector = torch.zeros(len(names), len(known), device=inputs.given.device)
    vector[range(len(names)), [known.index(name) for name in names]] = 1.0
    return replace(inputs, doors=inputs.doors.with_(vector=vector))


# ---------------------------------------------------------------- a beginning that is read


def beginning_read(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """The first frames into the `picture_tokens` door, by an encoder of short clips; where none are given, its one row that says so.

    Raises ValueError for given frames that are no beginning, for more than the encoder reads, and for a batch in which they are not equally many.
    """
    encoder, given = system.image_encoder, [pictures_of(request) for request in requests]
    counts = sorted({len(pictures) for pictures in given if pictures})
    if strange := [sorted(pictures) for pictures in given if sorted(pictures) != list(range(len(pictures)))]:
        raise ValueError(f"frames {strange[0]} are given: {system.name} goes on from a beginning. Give frames 0, 1, ..., without a gap.")
    if counts and counts[-1] > encoder.config.frames:
        raise ValueError(f"{counts[-1]} frames are given, and {system.name} reads the first {encoder.config.frames} at most. Leave the others out.")
    if len(counts) > 1:
        raise ValueError(f"the videos of one batch begin with {' and '.join(map(str, counts))} given frames. Try batch_size=1.")
    if not counts:
        return replace(inputs, doors=inputs.doors.with_(picture_tokens=encoder.nothing.expand(len(requests), 1, -1)))
    clips = torch.stack([pixels_to_tensor(np.stack([pictures[i] for i in range(counts[0])])) for pictures in given if pictures])
    seen = encoder.encode(clips.to(inputs.given))                           # (B', L, D)
    taken, nothing = iter(seen), encoder.nothing.expand(1, seen.shape[1], -1)[0]    # the same row many times says what it says once
    return replace(inputs, doors=inputs.doors.with_(picture_tokens=torch.stack([next(taken) if pictures else nothing for pictures in given])))


# ---------------------------------------------------------------- chance


def choice_of(requests: Sequence[Request]) -> Choice:
    """The one `Choice` of a batch. Raises ValueError if its requests have several."""
    found = {first_of(request, Choice) or Choice() for request in requests}
    if len(found) > 1:
        raise ValueError(f"the videos of one batch are drawn in {len(found)} ways. Try batch_size=1.")
    return found.pop()


def _unchanged(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    return inputs


# ---------------------------------------------------------------- motion


def frames_apart(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """No frame sees another: what is left of the clip is its pictures, one by one."""
    alone = torch.eye(inputs.is_given.shape[1], dtype=torch.bool, device=inputs.given.device)
    return replace(inputs, doors=inputs.doors.with_(frame_attends=alone.expand(len(requests), -1, -1)))


def frames_together(system: System, requests: Sequence[Request], inputs: Inputs) -> Inputs:
    """All frames see each other."""
    return replace(inputs, doors=inputs.doors.with_(frame_attends=None))


def motion(weight: float) -> Entrance:
    """Motion as an entry of the guidance list, whose null is the network with its frames apart (motion-free guidance, arXiv:2312.04557)."""
    return Entrance(name="motion", kinds=(), enter=frames_together, null=frames_apart, weight=weight)


# ---------------------------------------------------------------- recipes


TEXT = Entrance(name="text", kinds=(Text,), enter=text_tokens, null=null_tokens, defaults=(Text(),))
GIVEN_FRAMES = Entrance(name="frames", kinds=(Frames, FirstFrame, LastFrame), enter=given_frames)
ANIMATED_PICTURE = Entrance(name="picture", kinds=(FirstFrame, Frames), enter=animated_picture, null=no_picture, places=(0,))
TEXT_AND_PICTURE = Entrance(
    name="text and picture", kinds=(Text, FirstFrame, Frames), enter=text_and_picture, null=null_text_and_gray, places=(0,), defaults=(Text(),),
)  # fmt: skip
DRAFT = Entrance(name="draft", kinds=(Draft,), enter=noised_draft)
CHOICE = Entrance(name="choice", kinds=(Choice,), enter=_unchanged, defaults=(Choice(),))
MOTION_SEED = Entrance(name="motion seed", kinds=(MotionSeed,), enter=_unchanged)
"""Both enter by no door: what draws the codes, or the clip, reads them."""
CLASS = Entrance(name="class", kinds=(ClassLabel,), enter=class_row, null=no_class, defaults=(ClassLabel(),))
FIRST_FRAMES = Entrance(name="frames", kinds=(FirstFrame, Frames), enter=beginning_read)

TEXT_AND_FRAMES = (TEXT, GIVEN_FRAMES)
"""Text by cross-attention, given frames at noise level 0 (as Wan 2.2, arXiv:2503.20314)."""
TEXT_AND_DRAFT = (TEXT, DRAFT)
"""Text by cross-attention; the run may start from a draft instead of from noise."""
