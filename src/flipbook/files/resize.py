"""Size and colour: decoded frames to RGB at the size asked for, in one pass of libswscale.

libswscale's defaults darken RGB by a grey level at each trip and shift chroma by half a pixel, because writer and
reader disagree about where the chroma samples lie. Both sides here say accurate rounding, full chroma interpolation,
BT.709 or what the file states, and chroma on the left (the default of H.264 and VP9), so that ten trips leave the
mean alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from flipbook.files.errors import VideoError

if TYPE_CHECKING:
    import av

FLAGS = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
# ITU-T H.273 codes of matrices
MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
CENTRED_CHROMA = {"mjpeg", "mpeg1video", "webp", "vp8"}
RGB_FORMATS = ("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8")


@dataclass(frozen=True)
class Geometry:
    """Scale to (height, width), then cut out or set into (out_height, out_width) at (top, left); top, left >= 0."""

    height: int
    width: int
    out_height: int
    out_width: int
    top: int = 0
    left: int = 0

    @property
    def pads(self) -> bool:
        return self.out_height > self.height or self.out_width > self.width


def plan_resize(
    height: int, width: int, want_height: int | None, want_width: int | None, fit: Literal["crop", "pad", "stretch"]
) -> Geometry:
    """How a height x width picture becomes the wanted size. Raises VideoError for sizes below one pixel."""
    if (want_height is not None and want_height < 1) or (want_width is not None and want_width < 1):
        raise VideoError(f"height={want_height}, width={want_width}: sizes are positive numbers of pixels.")
    if fit not in ("crop", "pad", "stretch"):
        raise VideoError(f"fit={fit!r}: choose 'crop', 'pad' or 'stretch'.")
    if want_height is None and want_width is None:
        return Geometry(height, width, height, width)
    if want_height is None or want_width is None or fit == "stretch":
        h = want_height or max(1, round(height * (want_width or width) / width))
        w = want_width or max(1, round(width * (want_height or height) / height))
        return Geometry(h, w, h, w)
    choose = max if fit == "crop" else min
    scale = choose(want_height / height, want_width / width)
    bound = max if fit == "crop" else min
    h, w = bound(want_height, round(height * scale)), bound(want_width, round(width * scale))
    h, w = max(1, h), max(1, w)
    return Geometry(h, w, want_height, want_width, abs(h - want_height) // 2, abs(w - want_width) // 2)


def is_rgb(format_name: str) -> bool:
    return format_name.startswith(RGB_FORMATS)


@cache
def has_alpha(format_name: str) -> bool:
    return format_name in ("pal8", "ya8", "ya16be", "ya16le", "rgba64be", "rgba64le", "bgra64be", "bgra64le") or any(
        mark in format_name for mark in ("yuva", "gbrap", "rgba", "bgra", "argb", "abgr")
    )


class ToRGB:
    """Turns decoded frames into uint8 RGB (H, W, 3); the conversion is built once per kind of frame and reused."""

    def __init__(
        self,
        height: int | None = None,
        width: int | None = None,
        fit: Literal["crop", "pad", "stretch"] = "crop",
        background: tuple[int, int, int] = (0, 0, 0),
        codec: str = "",
    ) -> None:
        if len(background) != 3 or not all(0 <= int(c) <= 255 for c in background):
            raise VideoError(f"background={background!r}: three numbers from 0 to 255, red, green, blue.")
        self.want = (height, width, fit)
        self.background = background
        self.chroma = "center" if codec in CENTRED_CHROMA else "left"
        self.graphs: dict[tuple[Any, ...], Any] = {}

    def __call__(self, frame: av.VideoFrame, turns: int = 0, flip: bool = False) -> np.ndarray:
        """turns: quarter turns clockwise that a player would make; flip: mirrored left to right before that."""
        if has_alpha(frame.format.name):
            frame = self.over_background(frame)
        height, width, fit = self.want
        if turns % 2:
            height, width = width, height
        geometry = plan_resize(frame.height, frame.width, height, width, fit)
        rgb = self.convert(frame, geometry, "rgb24").to_ndarray()
        if turns or flip:
            rgb = np.rot90(rgb[:, ::-1] if flip else rgb, -turns)
        return np.ascontiguousarray(rgb)

    def over_background(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Blend before scaling, so that no colour bleeds out of transparent pixels."""
        import av

        rgba = self.convert(frame, Geometry(frame.height, frame.width, frame.height, frame.width), "rgba").to_ndarray()
        return av.VideoFrame.from_ndarray(blend(rgba, self.background), "rgb24")

    def convert(self, frame: av.VideoFrame, to: Geometry, out_format: str) -> av.VideoFrame:
        colours = int(frame.colorspace), int(frame.color_range)
        key = (frame.width, frame.height, frame.format.name, colours, to, out_format)
        if key not in self.graphs:
            self.graphs[key] = build_graph(frame, to, out_format, self.chroma, self.background)
        frame.pts = None
        self.graphs[key].push(frame)
        return self.graphs[key].pull()


def blend(rgba: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """uint8 (..., 4) with straight alpha over a colour: uint8 (..., 3), rounded."""
    alpha = rgba[..., 3:].astype(np.uint32)
    colour = rgba[..., :3] * alpha + np.asarray(background, np.uint32) * (255 - alpha)
    return ((colour + 127) // 255).astype(np.uint8)


def build_graph(
    frame: av.VideoFrame, to: Geometry, out_format: str, chroma: str, background: tuple[int, int, int]
) -> Any:
    """buffer -> scale -> crop or pad -> format -> sink, for frames like this one."""
    name = frame.format.name
    if is_rgb(name):  # planar, because swscale takes packed RGB through YUV when it scales
        planar = "gbrap" if has_alpha(name) else "gbrp"
        steps = [("format", planar), ("scale", f"{to.width}:{to.height}:{FLAGS}")] if scales(frame, to) else []
    else:
        full = frame.color_range == 2 or name.startswith("yuvj")
        matrix = MATRICES.get(int(frame.colorspace)) or ("bt709" if frame.height >= 720 else "bt601")
        steps = [("scale", f"{to.width}:{to.height}:{FLAGS}:in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}"
                           f":out_range=pc:in_chroma_loc={chroma}")]  # fmt: skip
        if out_format == "rgb24":
            steps.append(("format", "gbrp"))  # the same bytes three times as fast: swscale has vector code for planes alone
    steps.append(("format", out_format))
    if to.pads:
        colour = "0x{:02x}{:02x}{:02x}".format(*background)
        steps.append(("pad", f"{to.out_width}:{to.out_height}:{to.left}:{to.top}:{colour}"))
    elif (to.out_height, to.out_width) != (to.height, to.width):
        steps.append(("crop", f"{to.out_width}:{to.out_height}:{to.left}:{to.top}"))
    return chain(frame.width, frame.height, name, steps)


def scales(frame: av.VideoFrame, to: Geometry) -> bool:
    return (frame.height, frame.width) != (to.height, to.width)


def chain(width: int, height: int, pixel_format: str, steps: list[tuple[str, str]]) -> Any:
    """A configured libavfilter graph: push a frame, pull a frame."""
    import av.filter

    graph = av.filter.Graph()
    graph.threads = 1
    last = graph.add("buffer", f"video_size={width}x{height}:pix_fmt={pixel_format}:time_base=1/1000:pixel_aspect=1/1")
    for name, arguments in (*steps, ("buffersink", "")):
        following = graph.add(name, arguments) if arguments else graph.add(name)
        last.link_to(following)
        last = following
    graph.configure()
    return graph


def resize_frames(
    frames: np.ndarray,
    height: int | None,
    width: int | None,
    *,
    fit: Literal["crop", "pad", "stretch"] = "crop",
    background: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """uint8 (T, H, W, 3) to (T, height, width, 3), antialiased bicubic on each colour by itself."""
    import av

    to_rgb = ToRGB(height, width, fit, background)
    return np.stack([to_rgb(av.VideoFrame.from_ndarray(np.ascontiguousarray(f), "rgb24")) for f in frames])
