"""Public encoders of text, CLIP and T5, and of images, CLIP, through transformers (extra `hub`), behind the same face as our own.

Both read a local folder or a hub id. Of a pipeline in the layout of diffusers say `subfolder="text_encoder"` (or
`"text_encoder_2"`); its tokenizer stands in the `tokenizer` (`tokenizer_2`) beside it. Weights come from safetensors files
alone, and no code of a repository is run.
"""

from __future__ import annotations

import importlib
import json
from bisect import bisect_right
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipTextEncoder(nn.Module):
    """CLIP's text tower (arXiv:2103.00020) as latent diffusion and its video descendants read it.

    Sentences are padded to the tower's full length, and all rows may be attended, padding too: the networks that were
    trained beside it know no other input.

    layer: which transformer layer's rows, -1 for the last, -2 for the one before (as with OpenCLIP towers); the final
           norm follows in either case.
    """

    def __init__(self, model: Any, tokenizer: Any, *, layer: int = -1):
        super().__init__()
        self.model, self.tokenizer, self.layer = model, tokenizer, layer
        self.max_tokens = model.config.max_position_embeddings
        depth = model.config.num_hidden_layers
        if not -depth <= layer <= -1:
            raise ValueError(f"layer={layer}: this tower has {depth} layers, -1 is the last. Try -1 or -2.")

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, subfolder: str = "", layer: int = -1, dtype: torch.dtype = torch.float32, variant: str | None = None
    ) -> ClipTextEncoder:
        """Read a tower from a folder or hub id. Raises ValueError if it is not there, ImportError without the extra."""
        return cls(*_read(source, subfolder, "CLIPTextModel", dtype, variant), layer=layer)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, L, D) and mask (B, L), all True; L is the tower's length (77), longer sentences are cut."""
        ids = _tokenise(self.tokenizer, texts, self.max_tokens)["input_ids"].to(_device(self.model))
        out = self.model(input_ids=ids, output_hidden_states=self.layer != -1)
        if self.layer == -1:
            rows = out.last_hidden_state
        else:
            rows = getattr(self.model, "text_model", self.model).final_layer_norm(out.hidden_states[self.layer])
        return rows, torch.ones(ids.shape, dtype=torch.bool, device=ids.device)

    def unknown_words(self, text: str) -> list[str]:
        """None: byte-pair encoding spells any word."""
        return []

    def unread_words(self, text: str) -> list[str]:
        """The words that do not fit into the tower's length, in order."""
        return _beyond(self.tokenizer, text, self.max_tokens)


class T5TextEncoder(nn.Module):
    """T5's encoder (arXiv:1910.10683) as PixArt, Open-Sora, CogVideoX and Wan read it.

    max_tokens: sentences are padded or cut to this many rows; each of those systems has its own number (226 in
                CogVideoX, 512 in Wan).
    keeps_padding: rows behind a sentence's end are what the tower says of padding, in place of zeros.
    lower_case:    sentences are read in small letters.
    """

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int = 226, keeps_padding: bool = False, lower_case: bool = False):
        super().__init__()
        self.model, self.tokenizer, self.max_tokens = model, tokenizer, max_tokens
        self.keeps_padding, self.lower_case = keeps_padding, lower_case

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, subfolder: str = "", max_tokens: int = 226, dtype: torch.dtype = torch.float32
    ) -> T5TextEncoder:
        """Read an encoder from a folder or hub id. Raises ValueError if it is not there, ImportError without the extra."""
        return cls(*_read(source, subfolder, "T5EncoderModel", dtype), max_tokens=max_tokens)

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows (B, max_tokens, D), 0 where a sentence has ended, and mask (B, max_tokens), True = a token is there."""
        if self.lower_case:
            texts = [text.lower().strip() for text in texts]
        tokens = _tokenise(self.tokenizer, texts, self.max_tokens)
        ids, mask = (tokens[key].to(_device(self.model)) for key in ("input_ids", "attention_mask"))
        rows = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return rows if self.keeps_padding else rows * mask[..., None].to(rows.dtype), mask.bool()

    def unknown_words(self, text: str) -> list[str]:
        """None: sentence pieces spell any word."""
        return []

    def unread_words(self, text: str) -> list[str]:
        """The words that do not fit into `max_tokens`, in order."""
        return _beyond(self.tokenizer, text, self.max_tokens)


class ClipImageEncoder(nn.Module):
    """CLIP's image tower with its projection (arXiv:2103.00020), as Stable Video Diffusion reads it: one row per image.

    Pictures are blurred and resized without regard to their proportions, as that model's authors did; CLIP's own recipe, which
    crops the centre, gives other rows.

    mean, std: of the pixels in [0, 1] that the tower was trained on, per colour.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, *, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD):
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, subfolder: str = "", dtype: torch.dtype = torch.float32, variant: str | None = None
    ) -> ClipImageEncoder:
        """Read a tower from a folder or hub id. Raises ValueError if it is not there, ImportError without the extra.

        The `feature_extractor` beside a local tower's folder says which mean and std it wants; without one they are CLIP's.
        """
        model = _read_model(source, subfolder, "CLIPVisionModelWithProjection", dtype, variant)
        config = Path(source) / subfolder / ".." / "feature_extractor" / "preprocessor_config.json"
        found = json.loads(config.read_text(encoding="utf-8")) if subfolder and config.is_file() else {}
        return cls(model, mean=tuple(found.get("image_mean", CLIP_MEAN)), std=tuple(found.get("image_std", CLIP_STD)))

    def encode(self, images: Tensor) -> Tensor:
        """Rows (B, 1, D) of images (B, 3, H, W) in [-1, 1]."""
        return self.model(pixel_values=self.prepared(images)).image_embeds[:, None]

    def prepared(self, images: Tensor) -> Tensor:
        """What the tower sees, (B, 3, S, S), of images (B, 3, H, W) in [-1, 1]."""
        size = self.model.config.image_size
        small = resize_antialiased(images.to(torch.float32), (size, size))
        parameter = next(self.model.parameters())
        return (((small + 1.0) / 2.0 - self.mean.float()) / self.std.float()).to(parameter)


def resize_antialiased(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, H, W) to (B, C, *size): a Gaussian blur as wide as the shrinking asks for, then bicubic, corners on corners.

    The blur has std (factor - 1) / 2 pixels with factor = old side / new side, cut at two std, mirrored at the edges. Sides are
    enlarged by the bicubic alone.
    """
    for axis, (old, new) in enumerate(zip(images.shape[-2:], size, strict=True)):
        std = max((old / new - 1.0) / 2.0, 0.001)
        width = int(max(4.0 * std, 3)) | 1                                              # odd
        at = torch.arange(width, dtype=images.dtype, device=images.device) - width // 2
        weights = torch.exp(-(at**2) / (2.0 * std**2))
        images = _filtered(images, weights / weights.sum(), axis)
    return F.interpolate(images, size=size, mode="bicubic", align_corners=True)


def _filtered(images: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Each channel convolved with weights (K,) along axis 0 (height) or 1 (width), mirrored at the edges."""
    channels, reach = images.shape[1], len(weights) // 2
    kernel = weights.reshape((-1, 1) if axis == 0 else (1, -1)).expand(channels, 1, -1, -1)
    padding = (0, 0, reach, reach) if axis == 0 else (reach, reach, 0, 0)
    return F.conv2d(F.pad(images, padding, mode="reflect"), kernel, groups=channels)


def _read(source: str | Path, subfolder: str, class_name: str, dtype: torch.dtype, variant: str | None = None) -> tuple[Any, Any]:
    model = _read_model(source, subfolder, class_name, dtype, variant)
    transformers = importlib.import_module("transformers")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(source), subfolder=subfolder.replace("text_encoder", "tokenizer")
        )
    except OSError as error:
        raise _not_there(source, subfolder, f"{class_name}'s tokenizer", error) from error
    return model, tokenizer


def _read_model(source: str | Path, subfolder: str, class_name: str, dtype: torch.dtype, variant: str | None = None) -> Any:
    try:
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ImportError("public encoders need transformers. Try pip install 'flipbook[hub]'") from error
    try:
        model = getattr(transformers, class_name).from_pretrained(
            str(source), subfolder=subfolder, dtype=dtype, use_safetensors=True, variant=variant
        )
    except OSError as error:
        raise _not_there(source, subfolder, class_name, error) from error
    return model.eval().requires_grad_(False)


def _not_there(source: str | Path, subfolder: str, what: str, error: Exception) -> ValueError:
    return ValueError(
        f"{Path(source) / subfolder}: no {what} in safetensors files (or json) was found there. "
        f'Of a pipeline, say subfolder="text_encoder" or "image_encoder". ({error})'
    )


def _tokenise(tokenizer: Any, texts: list[str], length: int) -> dict[str, Tensor]:
    return tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")


def _beyond(tokenizer: Any, text: str, length: int) -> list[str]:
    """The words of a sentence behind the last one whose tokens, and the end's, fit into a length."""
    words = text.split()
    size = lambda count: len(tokenizer(" ".join(words[:count]), truncation=False, verbose=False)["input_ids"])
    if size(len(words)) <= length:
        return []
    return words[bisect_right(range(len(words)), length, key=size) - 1 :]


def _device(model: Any) -> torch.device:
    return next(model.parameters()).device
