"""The command line: `flipbook NAME ...` runs the function NAME of `flipbook.cli.NAME`, imported only then."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "generate": "Make a video from a sentence, from pictures, or from both.",
    "cascade": "Run stages that build on each other, and go on where they stopped.",
    "systems": "List the published systems, explain one, train its demonstration.",
    "train": "Train a system, or fine-tune a model, as a recipe says.",
    "curate": "Turn raw footage into clips worth training on, and say why each stayed or went.",
    "evaluate": "Score a model on a set of prompts.",
    "compare": "Change one factor, keep all else, and say what it changes.",
    "metrics": "Measure clips: one number with its protocol, interval and floor.",
    "data": "Look at sets of clips before any training: flipbook data plan FOLDER.",
    "check": "Look for what is wrong with videos: flicker, freezes, seams, drift and more.",
    "restore": "Mend a video without a network: denoise, deflicker, interpolate and more.",
    "world": "Write procedural clips with captions and the truth about them.",
    "info": "Say what a model folder or a video holds.",
    "decode": "Go on from what a video's failed decoding left behind.",
    "replay": "Make a video again from the recipe inside its file, and compare.",
    "doctor": "Say what is installed, what is fast here, what is missing.",
}

EXAMPLE = 'flipbook generate "a red circle moves right on a black background"'


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exits with 0 when all went well, 1 when it could not be done, 2 when it was asked wrongly."""
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(help_text())
    elif name in ("-V", "--version"):
        from flipbook import __version__

        print(f"flipbook {__version__}")
    elif name not in COMMANDS:
        from flipbook.hints import nearest

        _fail(f"flipbook has no command {name!r}. {nearest(name, COMMANDS)}", code=2)
    else:
        _run(name, rest)


def help_text() -> str:
    """What `flipbook --help` prints."""
    rows = [f"  {name:<10}{says}" for name, says in COMMANDS.items()]
    return "\n".join([
        "Usage: flipbook COMMAND ...", "", "Make, animate, train and measure video by diffusion.", "",
        "Commands:", *rows, "",
        "`flipbook COMMAND --help` says more, `flipbook --version` which one this is. To begin with:", f"  {EXAMPLE}",
    ])  # fmt: skip


def command(name: str) -> typer.Typer:
    """One command as an application of its own."""
    import importlib

    import typer

    run = getattr(importlib.import_module(f"flipbook.cli.{name}"), name)
    if isinstance(run, typer.Typer):  # it has commands of its own
        for own in run.registered_commands:
            own.help = paragraphs(own.callback.__doc__ or "")
        return run
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(name, help=paragraphs(run.__doc__ or ""))(run)
    return app


def paragraphs(text: str) -> str:
    """A docstring whose paragraphs are one line each: how wide they are shown is the terminal's affair."""
    from inspect import cleandoc

    return "\n\n".join(" ".join(lines.split()) for lines in cleandoc(text).split("\n\n"))


def _run(name: str, arguments: Sequence[str]) -> None:
    import warnings

    plain, warnings.formatwarning = warnings.formatwarning, lambda message, *_: f"note: {message}\n"  # no line of ours beside it
    try:
        command(name)(args=list(arguments), prog_name=f"flipbook {name}")
    except (ValueError, OSError, MemoryError) as error:  # what a user can mend; anything else is ours
        _fail("\n".join([str(error) or "memory ran out. Try a smaller height and width, or fewer frames.", *getattr(error, "__notes__", [])]))
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        _fail(str(error))  # an extra that is not installed, and the line that brings it
    finally:
        warnings.formatwarning = plain


def _fail(message: str, code: int = 1) -> None:
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(code)
