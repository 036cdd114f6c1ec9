"""Public checkpoints at full size: written with random weights in the exact layout, read by flipbook, compared, deleted.

Each step runs in a process of its own, so that its peak memory is its own: `write` makes the folder by diffusers' classes in bfloat16,
`whole` reads all of it in bfloat16 and makes two small frames, `here` and `there` run the U-Net alone in float32, read by flipbook and by
diffusers. Weights are drawn; what a size asks of the reader is real. `scripts/full-size` writes the table.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from flipbook.interop.folder import from_pretrained, unfilled
from flipbook.interop.keys.unet_layouts import PUBLIC
from flipbook.interop.weights import read_weights
from parity_rows import call, forward_here, forward_there
from public_folders import BETAS, randomised, write_clip_tokenizer

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "projection_dim": 768}
OPEN_CLIP_H = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16, "projection_dim": 512, "hidden_act": "gelu",
}  # fmt: skip
VISION_H = {
    "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16, "image_size": 224, "patch_size": 14,
    "projection_dim": 1024, "hidden_act": "gelu",
}  # fmt: skip
VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
BOUND, FRAMES, SIDE = 1e-4, 2, 16
PAGE_HEAD = f"""# Public checkpoints at full size

Folders in the layout and at the size of the public checkpoints, written by diffusers' classes with random weights in bfloat16, since the
weights themselves are not part of this project. Read whole by `flipbook.load`'s reader in bfloat16, which then makes two frames of 128 x 128
pixels in one step; and the U-Net alone in float32, against diffusers' class with the same weights, {FRAMES} frames of {SIDE} x {SIDE} latent
cells. Peaks are of the whole process, the pages of the files it reads included. The tokenizer beside the text encoder knows letters alone.

Written by `scripts/full-size`, a row by `scripts/full-size NAME`.

| checkpoint | pipeline | weights, millions | files, GB | peak, whole pipeline in bfloat16, GiB | peak, U-Net in float32, GiB | largest difference | bound |
|---|---|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Shape:
    """A public checkpoint: the pipeline that its index names, its text encoder's sizes, its motion adapter's name in `PUBLIC`."""

    pipeline: str
    unet: str
    text: dict[str, Any] | None = None
    adapter: str | None = None


SHAPES = {
    "stable-diffusion-1.5": Shape("StableDiffusionPipeline", "stable-diffusion-1.5", CLIP_L),
    "stable-diffusion-2.1": Shape("StableDiffusionPipeline", "stable-diffusion-2.1", OPEN_CLIP_H),
    "animatediff-v2": Shape("AnimateDiffPipeline", "stable-diffusion-1.5", CLIP_L, "animatediff-v2"),
    "modelscope-t2v": Shape("TextToVideoSDPipeline", "modelscope-t2v", OPEN_CLIP_H),
    "stable-video-diffusion": Shape("StableVideoDiffusionPipeline", "stable-video-diffusion"),
}


# ---------------------------------------------------------------- the steps, each in a process of its own


def write(name: str, folder: Path) -> None:
    """The folder of a shape."""
    import diffusers
    import transformers

    shape = SHAPES[name]
    _save(_unet_class(shape).from_config, PUBLIC[shape.unet], folder / "unet")
    if shape.adapter:
        _save(diffusers.MotionAdapter.from_config, PUBLIC[shape.adapter], folder / "motion_adapter")
    if shape.text is not None:
        text = transformers.CLIPTextConfig(**shape.text, max_position_embeddings=77, bos_token_id=54, eos_token_id=55, pad_token_id=55)
        _save(transformers.CLIPTextModel, text, folder / "text_encoder")
        write_clip_tokenizer(folder / "tokenizer")
        vae = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 512, **VAE}
        _save(diffusers.AutoencoderKL.from_config, vae, folder / "vae")
        diffusers.DDIMScheduler(**BETAS, beta_schedule="scaled_linear", set_alpha_to_one=False).save_pretrained(folder / "scheduler")
    else:
        _save(transformers.CLIPVisionModelWithProjection, transformers.CLIPVisionConfig(**VISION_H), folder / "image_encoder")
        transformers.CLIPImageProcessor().save_pretrained(folder / "feature_extractor")
        vae = {"down_block_types": ("DownEncoderBlock2D",) * 4, "sample_size": 768, **VAE}
        _save(diffusers.AutoencoderKLTemporalDecoder.from_config, vae, folder / "vae")
        diffusers.EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction", timestep_type="continuous",
            timestep_spacing="leading", steps_offset=1, use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        ).save_pretrained(folder / "scheduler")  # fmt: skip
    (folder / "model_index.json").write_text(f'{{"_class_name": "{shape.pipeline}"}}')


def whole(name: str, folder: Path) -> None:
    """Everything in bfloat16, and a clip made by it."""
    from flipbook.conditions import FirstFrame, Text
    from flipbook.generate import generate

    system = from_pretrained(folder, dtype=torch.bfloat16)
    picture = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    given = [Text("a red ball")] if SHAPES[name].text is not None else [FirstFrame(picture)]
    (video,) = generate(system, given, num_frames=2, height=128, width=128, num_inference_steps=1, dtype="bfloat16")
    assert video.frames.shape == (2, 128, 128, 3)
    assert video.frames.std() > 0
    print(sum(p.numel() for part in system.parts.values() for p in part.parameters()))


def here(name: str, folder: Path) -> None:
    """Our U-Net's answer, in float32, into a file."""
    from flipbook.interop.public import _with_motion, read_network

    shape = SHAPES[name]
    net: Any = read_network(folder / "unet", dtype=torch.float32, like="diffusers")
    if shape.adapter:
        net = _with_motion(net, folder / "motion_adapter", torch.float32, None, "diffusers")
    _answer(lambda given, level: forward_here(net.eval(), given, level), shape, folder / "here.safetensors")


def there(name: str, folder: Path) -> None:
    """The answer of diffusers' class, in float32, into a file."""
    import diffusers

    shape = SHAPES[name]
    with torch.device("meta"):
        unet = _unet_class(shape).from_config(PUBLIC[shape.unet])
        if shape.adapter:
            unet = diffusers.UNetMotionModel.from_unet2d(unet, diffusers.MotionAdapter.from_config(PUBLIC[shape.adapter]), load_weights=False)
    weights, _ = read_weights(folder / "unet", dtype=torch.float32)
    if shape.adapter:
        weights |= read_weights(folder / "motion_adapter", dtype=torch.float32)[0]
    unet.load_state_dict(weights, assign=True)
    _answer(lambda given, level: forward_there(unet.eval().requires_grad_(False), given, level), shape, folder / "there.safetensors")


def _answer(forward: Callable[..., torch.Tensor], shape: Shape, path: Path) -> None:
    given = call(PUBLIC[shape.unet]["cross_attention_dim"], length=77, frames=FRAMES, side=SIDE)
    save_file({"answer": forward(given, 1.0 if shape.text is None else 500).contiguous()}, path)


def _unet_class(shape: Shape) -> Any:
    import diffusers

    return getattr(diffusers, PUBLIC[shape.unet]["_class_name"])


def _save(make: Callable[..., Any], config: Any, folder: Path) -> None:
    """A network of a class, no weight of it zero or one, as bfloat16 files of at most 2 GB."""
    with unfilled():
        net = make(config)
    for parameter in net.parameters():
        parameter.requires_grad_(False).data = torch.zeros(parameter.shape, dtype=torch.bfloat16)
    randomised(net, keep="pos_embed").save_pretrained(folder, max_shard_size="2GB")


# ---------------------------------------------------------------- the table


def measured(name: str, folder: Path) -> str:
    """One row."""
    run("write", name, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
    weights, whole_peak = run("whole", name, folder)
    _, peak = run("here", name, folder)
    run("there", name, folder)
    ours, theirs = (load_file(folder / f"{side}.safetensors")["answer"] for side in ("here", "there"))
    error = float((ours - theirs).abs().max())
    cells = (name, SHAPES[name].pipeline, f"{int(weights) / 1e6:.0f}", f"{size:.1f}", f"{whole_peak:.1f}", f"{peak:.1f}", f"{error:.1e}", f"{BOUND:.0e}")
    print(f"{name}: answers have a std of {float(theirs.std()):.2f}", file=sys.stderr)
    return f"| {' | '.join(cells)} |"


def run(step: str, name: str, folder: Path) -> tuple[str, float]:
    """A step in a process of its own: what it printed, and its peak memory in GiB."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, __file__, step, name, str(folder)], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{name}: the step {step!r} ended with {process.returncode}")
        out.seek(0)
        return out.read().decode().strip(), usage.ru_maxrss / 2**20


def main(page: Path, names: list[str]) -> int:
    """Measure some shapes, or all, and put their rows into the page."""
    found = re.findall(r"^\| (\S+) \|.*$", page.read_text(encoding="utf-8"), re.MULTILINE) if page.is_file() else []
    rows = {n: next(line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| {n} |")) for n in found if n in SHAPES}
    for name in names or list(SHAPES):
        if name not in SHAPES:
            raise SystemExit(f"{name!r} is no shape. Known: {', '.join(SHAPES)}.")
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = measured(name, Path(folder))
        print(rows[name], flush=True)
        unfinished = page.with_suffix(".unfinished")
        unfinished.write_text(PAGE_HEAD + "\n".join(rows[n] for n in SHAPES if n in rows) + "\n", encoding="utf-8")
        os.replace(unfinished, page)
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in ("write", "whole", "here", "there"):
        {"write": write, "whole": whole, "here": here, "there": there}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
    else:
        raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
