"""`flipbook metrics`: one number about clips, with everything that it depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def metrics(
    name: Annotated[str, typer.Argument(help="A metric; `list` shows them all, `compare` compares two results.")],
    clips: Annotated[Path | None, typer.Argument(help="Folder of videos, one video, or .npy of uint8 clips.")] = None,
    reference: Annotated[Path | None, typer.Argument(help="Real clips, or the clip that each should be.")] = None,
    weights: Annotated[Path | None, typer.Option(help="File or folder of the network, where one is needed.")] = None,
    heads: Annotated[Path | None, typer.Option(help="The five heads of LPIPS.")] = None,
    captions: Annotated[Path | None, typer.Option(help="Text file, one caption a line, in the order of the clips.")] = None,
    num_real: Annotated[int | None, typer.Option(help="Real clips to use, instead of the protocol's number.", min=2)] = None,
    num_fake: Annotated[int | None, typer.Option(help="Clips to use, instead of the protocol's number.", min=2)] = None,
    split: Annotated[str | None, typer.Option(help="Which part of its data set the real clips are: train, test.")] = None,
    codec: Annotated[str | None, typer.Option(help="How the clips of both sides were encoded.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of windows, halves and redrawn sets.")] = 0,
    allow_torchscript: Annotated[
        bool, typer.Option("--allow-torchscript", help="Load TorchScript weights, which runs the code inside them.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure clips. Each number states its protocol, its interval, and how far real clips are from real clips.

    flipbook metrics world-features OUTPUTS REAL;  flipbook metrics psnr OUTPUTS REFERENCES;  flipbook metrics compare A.json B.json
    """
    from json import dumps

    from flipbook.metrics.catalogue import metric_named

    if name == "list":
        typer.echo(dumps(_catalogue(), indent=1) if json else _listing())
        return
    if clips is None:
        raise ValueError(f"{name} of what? Give a folder of clips. `flipbook metrics list` shows what there is.")
    if name == "compare":
        if reference is None:
            raise ValueError("compare takes two results, A.json B.json, written by --output.")
        typer.echo(_compare(clips, reference, json))
        return
    from flipbook.metrics.measure import measure

    options: dict[str, Any] = {}
    if metric_named(name).kind == "sets":
        options = {
            "num_real": num_real, "num_fake": num_fake, "split": split, "codec": codec, "allow_torchscript": allow_torchscript,
        }  # fmt: skip
    lines = captions.read_text().splitlines() if captions else None
    result = measure(name, clips, reference, captions=lines, weights=weights, heads=heads, seed=seed, **options)
    if output:
        result.write(output)
    if json:
        typer.echo(dumps(result.to_json(), indent=1))
        return
    typer.echo(str(result))
    for remark in result.remarks:
        typer.echo(f"* {remark}")


def _catalogue() -> dict[str, dict[str, Any]]:
    from flipbook.metrics.catalogue import METRICS

    return {
        name: {
            "kind": m.kind, "says": m.says, "needs": m.needs, "higher_is_better": m.higher_is_better,
            "sees": sorted(m.sees), "rewards": sorted(m.rewards), "tested": m.is_tested,
        }
        for name, m in METRICS.items()
    }  # fmt: skip


def _listing() -> str:
    from flipbook.metrics.vbench import DIMENSIONS

    titles = {"sets": "Clips against real clips", "pairs": "Each clip against its reference", "clips": "Each clip by itself",
              "texts": "Each clip against its caption"}  # fmt: skip
    catalogue, lines = _catalogue(), []
    for kind, title in titles.items():
        lines.append(f"{title}:")
        for name, metric in catalogue.items():
            if metric["kind"] == kind:
                needs = f"  (needs {metric['needs']})" if metric["needs"] else ""
                lines.append(f"  {name:<30}{metric['says']}{needs}")
    refused = [name for name, dimension in DIMENSIONS.items() if dimension.computed_by is None]
    return "\n".join([*lines, f"Of VBench, for want of weights, not: {', '.join(refused)}."])


def _compare(first: Path, second: Path, as_json: bool) -> str:
    from dataclasses import asdict
    from json import dumps

    from flipbook.metrics.measurement import Measurement, compare

    result = compare(Measurement.read(first), Measurement.read(second))
    if as_json:
        return dumps(asdict(result), indent=1)
    better = {"a": f"{first.name} is better", "b": f"{second.name} is better", None: "neither is better"}[result.better]
    return f"{second.name} - {first.name} = {result.difference:+.4g}; the intervals {'are apart' if result.apart else 'overlap'}: {better}."
