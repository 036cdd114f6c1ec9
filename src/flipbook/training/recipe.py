"""A training recipe: one YAML file, checked before anything heavy is imported.

Every key has a default except `system` (or `init`), `data` and `output`. Overrides on the command line are
`dotted.key=value` with the value in YAML: `optimizer.lr=1e-4`, `data.0.weight=2`, `samples.prompts='[a star spins]'`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from flipbook.data.buckets import Buckets
from flipbook.data.framing import Framing

Count = Annotated[int, Field(ge=1)]
Interval = Annotated[int, Field(ge=0)]  # 0 = never


class RecipeError(ValueError):
    """A recipe that cannot be run: every problem on its own line, with the nearest valid key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OptimizerRecipe(_Part):
    """`muon`: hidden matrices by Muon, everything else by AdamW (see training/optim.py); one `lr` serves both."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(default=3e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = Field(default=0.01, ge=0)  # matrices only; never biases, norms, gains
    momentum: float = 0.95  # Muon's
    muon_lr: float | None = None  # None: `lr`
    adamw_names: tuple[str, ...] = ()  # more parameters (parts of names) that Muon leaves to AdamW


class ValidationRecipe(_Part):
    """Fixed clips, fixed noise, each clip seen at `repeats` of ten evenly spread noise levels."""

    every: Interval = 500
    clips: Count = 64
    repeats: Count = 2


class SamplesRecipe(_Part):
    every: Interval = 1000
    prompts: tuple[str, ...] = ()


class CheckpointRecipe(_Part):
    """Saved every `every` steps and every `minutes`; 0 = not by this clock. The last `keep` stay."""

    every: Interval = 0
    minutes: float = Field(default=10.0, ge=0)
    keep: Count = 2


class LogRecipe(_Part):
    every: Count = 10
    tensorboard: bool = True


class CacheRecipe(_Part):
    """variants: how many different cuts (start, crop, mirroring) of each clip there are; each is encoded once.
    dtype: of the latents on disk, which are the latents that are trained on, from the first time on.
    """

    folder: Path
    variants: Count = 1
    dtype: Literal["fp16", "bf16", "fp32"] = "fp16"


class Recipe(_Part):
    """What a training run is. Two runs of one recipe give the same weights, bit for bit, on one machine."""

    output: Path
    system: str | None = None  # a system's name, trained from scratch ...
    system_config: dict[str, Any] = {}
    init: str | None = None  # ... or a model folder (or name) to start from
    image: str | None = None  # an image model (folder or name) whose weights the denoiser starts from; its inserts stay fresh
    parts: dict[str, str] = {}  # parts taken from other models: {autoencoder: runs/autoencoder/model}
    objective: dict[str, Any] = {"name": "denoising"}  # name and the objective's own options; or stage, of those that `flipbook systems show` lists
    data: list[dict[str, Any]] = Field(min_length=1)  # sources, see data/sources
    buckets: Buckets | None = None  # batches of several shapes, see data/buckets.py; None: all of the one shape below
    cache: CacheRecipe | None = None  # latents, and rows of text where its encoder does not learn, on disk
    num_frames: Count = 16
    frame_stride: Count = 1
    clip_frames: Count = 16  # length of the clip that the frames are taken from
    random_start: bool | None = None  # take them anywhere in it; None: only when num_frames = 1
    height: Count = 64
    width: Count = 64
    num_workers: Interval = 1
    batch_size: Count = 32  # samples per update, over all processes
    micro_batch: Count | None = None  # samples per network call and process; None: all that is a process's share
    steps: Count = 10_000
    optimizer: OptimizerRecipe = OptimizerRecipe()
    warmup: Interval = 100
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "wsd"
    decay: float = Field(default=0.2, ge=0, le=1)  # wsd: the last share of the run, in which the rate falls to zero
    schedule_minutes: float | None = Field(
        None, gt=0
    )  # the run's length on the clock: decay follows it, and the run ends with it
    clip_norm: float = Field(1.0, ge=0)  # 0 = no clipping
    ema: float = Field(default=0.999, ge=0, lt=1)  # 0 = no average
    dtype: Literal["bf16", "fp32"] = "bf16"  # autocast; weights and optimiser stay float32
    compile: bool = False
    gradient_checkpointing: bool = False  # blocks run again for their gradients: less memory, about a third more time
    parallel: Literal["ddp", "fsdp"] = "ddp"  # under torchrun: weights whole in each process, or sharded over all
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Interval = 0  # 0 = torch's choice
    seed: int = 0
    validation: ValidationRecipe = ValidationRecipe()
    samples: SamplesRecipe = SamplesRecipe()
    checkpoint: CheckpointRecipe = CheckpointRecipe()
    log: LogRecipe = LogRecipe()
    time_limit_minutes: float | None = Field(default=None, gt=0)  # stop with a checkpoint, to be resumed later

    @field_validator("objective", mode="before")
    @classmethod
    def _objective_by_name(cls, value: Any) -> Any:
        value = {"name": value} if isinstance(value, str) else value
        if isinstance(value, dict) and not isinstance(value.get("name", value.get("stage")), str):
            raise ValueError("needs a name, e.g. {name: denoising}, or a stage of its system's training, e.g. {stage: video}")
        if isinstance(value, dict) and {"name", "stage"} <= value.keys():
            raise ValueError(f"a stage has its own objective, and name={value['name']} is given beside it. Try {{stage: {value['stage']}}}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.system is not None and self.init is not None:
            raise ValueError(
                "system and init are both given: keep `system` to train from scratch or `init` to fine-tune"
            )
        if self.system_config and self.system is None:
            raise ValueError("system_config needs system: a model folder (init) brings its own configuration")
        if self.compile and (self.gradient_checkpointing or self.parallel == "fsdp"):
            raise ValueError("compile goes neither with gradient_checkpointing nor with parallel: fsdp yet. Try compile: false")
        span = (self.num_frames - 1) * self.frame_stride + 1
        if span > self.clip_frames:
            raise ValueError(
                f"num_frames={self.num_frames} at frame_stride={self.frame_stride} spans {span} frames, but "
                f"clip_frames={self.clip_frames}. Try clip_frames={span}"
            )
        return self

    def framing(self) -> Framing:
        """The shape of each sample, where there are no buckets."""
        return Framing(
            num_frames=self.num_frames, frame_stride=self.frame_stride, clip_frames=self.clip_frames,
            random_start=self.random_start, height=self.height, width=self.width,
        )  # fmt: skip


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and apply `dotted.key=value` overrides. Raises RecipeError with every problem found."""
    return parse_recipe(read_tree(path, overrides, "recipe"), origin=str(path))


def read_tree(path: str | Path, overrides: Sequence[str], what: str) -> dict[str, Any]:
    """A YAML file as plain data, with `dotted.key=value` overrides. Raises RecipeError where it is none; `what` says what it should be."""
    try:
        tree = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot read the {what} ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise RecipeError(f"{path}: a {what} is a mapping of keys to values, this file holds {type(tree).__name__}.")
    for override in overrides:
        set_override(tree, override)
    return tree


def parse_recipe(tree: dict[str, Any], origin: str = "recipe") -> Recipe:
    """A recipe from plain data. Raises RecipeError with every problem found."""
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(problem) for problem in error.errors()]
        raise RecipeError("\n  ".join([f"{origin} cannot be run:", *lines])) from None


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `1e-4` as a word, since it has no dot; people mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def set_override(tree: dict[str, Any], override: str) -> None:
    """Set one `dotted.key=value` in `tree`; see `set_key`. The value is YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"override {override!r} is not key=value. Try for instance optimizer.lr=1e-4")
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: the value is not valid YAML. Quote it.") from error
    set_key(tree, key.strip(), value)


def read_yaml(text: str) -> Any:
    """What a piece of YAML says, where `1e-4` is a number. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)


def set_key(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set one dotted key in `tree`, making the mappings on the way; numbers step into lists."""
    override = f"{key}={value}"
    *way, last = key.split(".")
    node: Any = tree
    for done, name in enumerate(way):
        if isinstance(node, dict) and not isinstance(node.get(name), (dict, list)):
            node[name] = {"name": node[name]} if isinstance(node.get(name), str) else {}  # objective: denoising
        node = _step(node, name, override, ".".join(way[:done]))
    if isinstance(node, list):
        _step(node, last, override, ".".join(way))
        node[int(last)] = value
    else:
        node[last] = value


def _step(node: Any, name: str, override: str, where: str) -> Any:
    if isinstance(node, dict):
        return node[name]
    if not name.isdigit() or int(name) >= len(node):
        raise RecipeError(
            f"override {override!r}: {where} is a list of {len(node)}; use a number from 0 to {len(node) - 1}."
        )
    return node[int(name)]


def _explain(problem: Any) -> str:
    where = [str(part) for part in problem["loc"]]
    key = ".".join(where)
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(where)
        near = difflib.get_close_matches(where[-1], known, n=1, cutoff=0.5)
        hint = f"Did you mean {'.'.join([*where[:-1], near[0]])}?" if near else f"Known here: {', '.join(known)}."
        return f"{key}: unknown key. {hint}"
    if problem["type"] == "missing":
        return f"{key}: missing."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (got {problem['input']!r})." if key else f"{message}."


def _keys_beside(where: list[str]) -> list[str]:
    model: type[BaseModel] = Recipe
    for part in where[:-1]:
        if part.isdigit():  # an item of a list of models
            continue
        annotation = model.model_fields[part].annotation
        while not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):  # X | None, tuple[X, ...]
            annotation = get_args(annotation)[0]
        model = annotation
    return sorted(model.model_fields)
