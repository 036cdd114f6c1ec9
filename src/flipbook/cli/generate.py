"""`flipbook generate PROMPT`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flipbook.conditions import Condition
    from flipbook.forecast import Forecast

shown, size, made, chosen, put = (
    partial(typer.Option, rich_help_panel=title)
    for title in ("What it shows", "Size and length", "How it is made", "Which model makes it", "What is written")
)


def generate(
    prompt: Annotated[str, typer.Argument(help="What the video shows. May be empty when pictures are given.")] = "",
    negative_prompt: Annotated[str, shown(help="What guidance leads away from.")] = "",
    first_frame: Annotated[Path | None, shown(help="A picture that the video starts with.")] = None,
    last_frame: Annotated[Path | None, shown(help="A picture that it ends with.")] = None,
    frames: Annotated[
        list[str] | None,
        shown(metavar="I=PATH", help="A picture at frame I, from 0, or from the end at -1. Repeatable."),
    ] = None,
    of_class: Annotated[
        str | None, shown("--class", help="For models that were taught classes: the name of one.")
    ] = None,
    motion_seed: Annotated[int | None, shown(help="Another movement of the same content (DIGAN).")] = None,
    num_frames: Annotated[int | None, size(help="Length in frames. Default: the model's own, as for all that follow.")] = None,
    fps: Annotated[float | None, size(help="Frames per second.")] = None,
    height: Annotated[int | None, size(help="Height in pixels.")] = None,
    width: Annotated[int | None, size(help="Width in pixels.")] = None,
    seed: Annotated[int, made(help="The same seed gives the same video.")] = 0,
    num_videos: Annotated[int, made(help="How many, with seeds counting up.", min=1)] = 1,
    best_of: Annotated[
        int | None,
        made(help="Candidates for each video; the model keeps the one that fits the words best.", min=1),
    ] = None,
    num_inference_steps: Annotated[int | None, made(help="Steps of the sampler: fewer are faster, more are better.")] = None,
    guidance_scale: Annotated[
        float | None, made(help="How strictly the words are followed; 1 is no guidance.")
    ] = None,
    sampler: Annotated[str | None, made(help="For instance euler, heun, dpmpp_2m, unipc.")] = None,
    step_cache: Annotated[
        float | None,
        made(
            help="Skip most of the network where its first block's answer moved by less than this, say 0.2: faster, not exact. With --sampler euler.",
        ),
    ] = None,
    temperature: Annotated[
        float | None, made(help="For drawing codes (VideoGPT): below 1 the likely ones become likelier.")
    ] = None,
    top_k: Annotated[int | None, made(help="Draw only from this many of the likeliest codes (VideoGPT).")] = None,
    dtype: Annotated[str | None, made(help="float32 or bfloat16. Default: what is fast here.")] = None,
    device: Annotated[str, made(help="cpu or cuda.")] = "cpu",
    compile: Annotated[
        bool, made("--compile", help="Compile first: slow to start, faster for each video.")
    ] = False,
    anyway: Annotated[bool, made("--anyway", help="Go on where memory will not do by the forecast.")] = False,
    model: Annotated[
        str | None,
        chosen(
            help="A shipped model's name, a model folder (ours or a public pipeline's), a file, or a hub id. Default: thumb; with --stream "
            "thumb-stream."
        ),
    ] = None,
    motion_adapter: Annotated[
        Path | None, chosen(help="A folder that sets an image pipeline in motion (AnimateDiff).")
    ] = None,
    like: Annotated[
        str | None, chosen(help="diffusers: compute as that reference where it differs from the authors' code.")
    ] = None,
    inserts: Annotated[
        str | None, chosen(help="off: only the image model inside a video model, frame by frame.")
    ] = None,
    beside: Annotated[
        Path | None, chosen(help="For a --model in one file: a Stable Diffusion folder with what the file lacks.")
    ] = None,
    variant: Annotated[str | None, chosen(help="fp16 or bf16: which files of a public folder are read.")] = None,
    output: Annotated[
        str | None,
        put(
            metavar="PATH",
            help="File (.mp4 .webm .gif .webp ...), or a folder: one that is there, or a name with a slash behind it. A new name without "
            "a suffix becomes a folder of PNG images. Default: outputs/WORDS-SEED.mp4",
        ),
    ] = None,
    stream: Annotated[
        bool,
        put(
            "--stream",
            help="Write frames as they are made, to a file that can be watched meanwhile, --num-frames of any length in constant memory; "
            "Ctrl-C ends the video there. Needs a causal --model, as thumb-stream is.",
        ),
    ] = False,
    json: Annotated[bool, put("--json", help="Print the result as JSON, no progress bar.")] = False,
) -> None:
    """Make a video from a sentence, from pictures, or from both.

    Writes the video with its contact sheet and its recipe, and overwrites nothing. Should decoding fail, what was sampled is on disk, and
    flipbook decode goes on from it.

    flipbook generate "a small star spins" --first-frame star.png --frames 8=middle.png
    """
    from flipbook.conditions import ClassLabel, MotionSeed, Text

    asked = _conditions(prompt, negative_prompt, first_frame, last_frame, frames or [])
    says_nothing = all(isinstance(one, Text) and not one.prompt.strip() for one in asked)
    drawn = [*_choice(temperature, top_k), *([] if motion_seed is None else [MotionSeed(motion_seed)]), *([] if of_class is None else [ClassLabel(of_class)])]
    settings: dict[str, Any] = {
        "num_frames": num_frames, "fps": fps, "height": height, "width": width, "sampler": sampler,
        "num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale,
        "step_cache": step_cache, "best_of": best_of, "seed": seed, "num_videos": num_videos, "dtype": dtype,
    }  # fmt: skip

    import warnings

    from flipbook.cli.output import output_path, progress_bar, slug, write_video
    from flipbook.files.write import check_writable
    from flipbook.model import SkipsLittle, UnknownWords, UnreadWords, load

    public = {"motion_adapter": motion_adapter, "like": like, "inserts": inserts, "beside": beside, "variant": variant}
    loaded = load(model or ("thumb-stream" if stream else "thumb"), device=device, compile=compile, **public)
    if says_nothing and loaded.system.text_encoder is not None:
        from flipbook.cli import EXAMPLE

        raise ValueError(f"nothing was asked for. Try {EXAMPLE}")
    first = output_path(output, slug(prompt), 1, seed)
    check_writable(first, num_frames or loaded.system.defaults["num_frames"])
    conditions = [*(asked or [Text()]), *drawn]                            # what reads no sentence may be asked for nothing
    with progress_bar("generating", show=not json) as progress, warnings.catch_warnings(record=True) as caught:
        for note in (SkipsLittle, UnknownWords, UnreadWords):
            warnings.simplefilter("always", note)
        if not stream:
            told: dict[str, Any] = {"progress": progress, "keep_latents": first.with_suffix(""), "tell": _tell_forecast, "anyway": anyway}
            videos: list[Any] = loaded.generate([conditions], **settings, **told)  # type: ignore[assignment]
        else:
            if settings.pop("num_videos") > 1:
                raise ValueError(f"--num-videos {num_videos} with --stream: one video is watched at a time. Try another --seed for another one.")
            settings["num_frames"] = num_frames or loaded.system.defaults["num_frames"]
            coming = loaded.stream(conditions, **settings)
    unknown = [word for w in caught if isinstance(w.message, UnknownWords) for word in w.message.words]
    for w in caught:
        typer.echo(f"note: {w.message}", err=True)
    if stream:
        from flipbook.cli.live import write_stream

        path = output_path(output, slug(prompt), 1, seed)
        _tell_stream(write_stream(coming, path, title=prompt or None, show=not json) | {"unknown_words": unknown}, json)
        return

    written = []
    for video in videos:
        path = output_path(output, slug(prompt), num_videos, video.recipe["seed"])
        one, line = write_video(video, path, prompt or None)
        written.append(one | {"unknown_words": unknown})
        if not json:
            typer.echo(line)
    if json:
        from json import dumps

        typer.echo(dumps(written, indent=1))


def _tell_forecast(told: Forecast) -> None:
    if told.peak > told.free / 4:
        typer.echo(f"note: {told}.", err=True)


def _tell_stream(made: dict[str, Any], json: bool) -> None:
    if json:
        from json import dumps

        typer.echo(dumps([made], indent=1))
        return
    ended = ", ended early" if made["interrupted"] else ""
    typer.echo(f"{made['path']}  ({made['frames']} frames{ended}, {made['frames_per_second']:g} a second, sheet {Path(made['sheet']).name})")


def _choice(temperature: float | None, top_k: int | None) -> list[Condition]:
    from flipbook.conditions import Choice

    given = {"temperature": temperature, "top_k": top_k}
    given = {key: value for key, value in given.items() if value is not None}
    return [Choice(**given)] if given else []  # type: ignore[arg-type]


def _conditions(
    prompt: str, negative_prompt: str, first: Path | None, last: Path | None, frames: list[str]
) -> list[Condition]:
    pictures: dict[int, Path] = {}
    for item in frames:
        index, equals, path = item.partition("=")
        if not equals or not index.strip().lstrip("-").isdigit():
            raise ValueError(f"--frames {item!r} is not I=PATH. Try --frames 8=middle.png")
        pictures[int(index)] = Path(path)
    from flipbook.conditions import FirstFrame, Frames, LastFrame, Text

    conditions: list[Condition] = [Text(prompt, negative_prompt)] if prompt.strip() or negative_prompt.strip() else []
    conditions += [FirstFrame(first)] if first is not None else []
    conditions += [LastFrame(last)] if last is not None else []
    conditions += [Frames(pictures)] if pictures else []
    return conditions
