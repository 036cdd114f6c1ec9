"""The gallery: a page and a contact sheet for each system, from the runs of `flipbook systems run`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flipbook.systems import SYSTEMS
from flipbook.systems.demo import SENTENCES
from flipbook.systems.describe import DEMOS, module_of

LARGEST = 100_000
"""Bytes of a picture of the gallery, at most."""
KEPT = ("lessons", "measured", "without", "shown", "parameters", "threads", "seed")


def write_gallery(results: Mapping[str, Mapping[str, Any]], runs: Path, page: Path, command: str) -> None:
    """The page with its pictures beside it, and what `flipbook systems` tells of the runs.

    results: by system, what `run_demo` returned; runs: their folders by name.   command: what made them, as it stands on the page.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        small_picture(runs / name / result["sheet"], page.parent / f"{name}.png")
    told = {"command": command, "systems": {name: {key: result[key] for key in KEPT if key in result} for name, result in results.items()}}
    for path, text in ((page, page_text(told)), (DEMOS, json.dumps(told, indent=1) + "\n")):
        unfinished = path.with_name(f".unfinished-{path.name}")
        unfinished.write_text(text, encoding="utf-8")
        os.replace(unfinished, path)


def small_picture(source: Path, target: Path) -> None:
    """A PNG of few colours, so few that the file stays small. Raises ValueError if none is small enough."""
    from PIL import Image

    with Image.open(source) as picture:
        for colours in (192, 96, 48, 24):
            picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
            if target.stat().st_size < LARGEST:
                return
    raise ValueError(f"{source} stays above {LARGEST} bytes with 24 colours. Show fewer clips on it.")


def page_text(told: Mapping[str, Any]) -> str:
    """The gallery's page in Markdown."""
    return "\n".join([
        "# Gallery",
        "",
        "Published systems, trained on the procedural world by their own stages at demonstration size: clips of 32 x 32 pixels, told by",
        f"{len(SENTENCES)} sentences (colours red, green, blue, yellow; circle, square; moves right, moves left, falls; black or gray). Nothing is chosen:",
        "the first seeds are shown. All predict v on their own noise paths, whatever their papers predict, since an eps network needs more than minutes.",
        "These are sketches of what each method does, and no rivals to the papers.",
        "",
        f"Written by `{told['command']}`. `flipbook systems show NAME` explains a system, `flipbook systems run NAME` makes its clips again.",
        "",
        "Colour, shape and motion: share of the measured clips in which the truth reader finds what the sentence asks for. Steady: one object in nearly all",
        "frames. Flicker: grey levels by which a quarter of the picture brightens and darkens in turn. `stable-diffusion` is the baseline of all that",
        "start from it: the same image model, frame by frame.",
        *without_picture(told),
        "",
        "| system | training | colour | shape | motion | steady | flicker |",
        "|---|---|---|---|---|---|---|",
        *(table_row(name, facts) for name, facts in told["systems"].items()),
        "",
        *what_inserts_do(told),
        *(line for name, facts in told["systems"].items() for line in section(name, facts)),
    ]).rstrip("\n") + "\n"  # fmt: skip


def without_picture(told: Mapping[str, Any]) -> list[str]:
    """A paragraph that names the systems which have a demonstration and were not run; nothing where all were."""
    missing = [f"`{name}`" for name in SYSTEMS if name not in told["systems"] and hasattr(module_of(name), "DEMO")]
    return ["", f"Not on this page: {', '.join(missing)}. Systems that work on pixels or have several networks need more than minutes."] if missing else []


def table_row(name: str, facts: Mapping[str, Any]) -> str:
    """One line of the page's table."""
    measured = facts["measured"]
    share = lambda key: f"{100 * measured[key]:.0f} %" if key in measured else "–"
    seconds = sum(lesson["seconds"] for lesson in facts["lessons"])
    return f"| [{name}](#{name}) | {seconds:.0f} s | " + " | ".join(map(share, ("colour", "shape", "motion", "steady"))) + f" | {measured['flicker']:.1f} |"


def what_inserts_do(told: Mapping[str, Any]) -> list[str]:
    """A table of the networks with inserts: what their clips are with them, and without; nothing where none was measured."""
    rows = [(name, facts["without"]) for name, facts in told["systems"].items() if "without" in facts]
    if not rows:
        return []

    def columns(one: Mapping[str, Any]) -> str:
        both = one["together"], one["apart"]
        return " | ".join([*(f"{100 * each['steady']:.0f} %" for each in both), *(f"{each['flicker']:.1f}" for each in both)])

    return [
        "What the inserts do: clips of the network that begins (a cascade's first stage), and of the same network with its inserts switched off",
        "(`--inserts off`), from the same sentences and noise.",
        "",
        "| system | network | steady | steady, off | flicker | flicker, off |",
        "|---|---|---|---|---|---|",
        *(f"| {name} | {one['network']} | {columns(one)} |" for name, one in rows),
        "",
    ]  # fmt: skip


def section(name: str, facts: Mapping[str, Any]) -> list[str]:
    """A system's part of the page."""
    card = module_of(name).CARD
    lessons = [
        f"{lesson['stage']} ({lesson['network']}" + (f", from {lesson['from']}" if lesson["from"] else "") + f"): {lesson['updates']} updates of "
        f"{lesson['batch']} {'stills' if lesson['frames'] == 1 else 'clips of ' + str(lesson['frames']) + ' frames'}, {lesson['seconds']:.0f} s"
        for lesson in facts["lessons"]
    ]
    weights = ", ".join(f"{network} {number / 1e6:.1f} M" for network, number in facts["parameters"].items())
    return [
        f"## {name}", "", f"{card.title} ([arXiv:{card.arxiv}](https://arxiv.org/abs/{card.arxiv}), {card.year}). Weights of the denoisers: {weights}.", "",
        *(f"- {lesson}" for lesson in lessons), "", f"![{'; '.join(facts['shown'])}]({name}.png)", "",
    ]  # fmt: skip
