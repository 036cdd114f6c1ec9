"""Look at a file before any decoder does: does it exist, what is it, and is all of it there?

Decoders shrug at a file that was cut off and return what they find. Each format says where it ends, so we ask it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO, Literal

from flipbook.files.errors import EmptyVideo, MissingVideo, NotAVideo, TruncatedVideo

Kind = Literal["folder", "image", "container"]
SIGNATURES = {b"GIF8": "gif", b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"BM": "bmp", b"II*\0": "tiff"}


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """'folder', 'image' (Pillow reads it, animated or not) or 'container' (libav reads it); by content, not by name.

    Raises MissingVideo, EmptyVideo, NotAVideo (text, or no regular file), TruncatedVideo.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        raise MissingVideo(f"{path}: there is no such file or folder ({error.strerror}). Check the path.") from None
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if not stat.S_ISREG(status.st_mode):
        raise NotAVideo(f"{path}: this is a device or a pipe, and video is read from files. Copy it to a file first.")
    if status.st_size == 0:
        raise EmptyVideo(
            f"{path}: the file has zero bytes: writing it never began or the disk was full. Make it again."
        )
    with path.open("rb") as file:
        head = file.read(4096)
        form = image_form(head)
        if form is None and looks_like_text(head):
            raise NotAVideo(f"{path}: this is text, not video, whatever its name says. It begins with {head[:40]!r}.")
        whole = bytes_needed(file, form or "container", head, status.st_size)
    if whole is not None:
        needed = f" of at least {whole:,}" if whole > status.st_size else ""
        raise TruncatedVideo(
            f"{path}: the file stops after {status.st_size:,} bytes{needed}: it was cut off while written or copied. "
            "Copy or download it again; `ffmpeg -i FILE -c copy NEW` may rescue the part that is there."
        )
    return "image" if form else "container"


def image_form(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return next((form for signature, form in SIGNATURES.items() if head.startswith(signature)), None)


def looks_like_text(head: bytes) -> bool:
    if head.startswith(b"YUV4MPEG2"):
        return False
    try:
        text = head.decode("utf-8") if len(head) < 4096 else head[:4000].decode("utf-8", errors="ignore")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c in "\r\n\t\f\b" for c in text)


def bytes_needed(file: BinaryIO, form: str, head: bytes, size: int) -> int | None:
    """None if the file is whole or cannot tell, else the bytes it should have (its size, where that is unknown)."""
    if form == "gif":
        return None if gif_ends(file, head, size) else size
    if form == "png":
        return png_end(file, size)
    if head[:4] == b"RIFF" and len(head) >= 8:
        needed = 8 + int.from_bytes(head[4:8], "little")
        return needed if needed > size else None
    if form == "container" and head[:4] == b"\x1a\x45\xdf\xa3":
        return matroska_end(head, size)
    if form == "container" and head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
        return boxes_end(file, size)
    return None


def boxes_end(file: BinaryIO, size: int) -> int | None:
    """mp4 and mov: top-level boxes of (size, type), one after the other; without `moov` nothing can be read."""
    at, types = 0, set()
    while at + 8 <= size:
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:
            length = size - at
        if length < 8:
            break
        types.add(kind)
        at += length
        if at > size:
            return at
    return None if b"moov" in types else size


def matroska_end(head: bytes, size: int) -> int | None:
    """mkv and webm: an EBML header, then one segment that knows its length unless it was streamed."""
    length, at = vint(head, 4)
    if length is None:
        return None
    at += length
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return None if at + 4 <= len(head) else size
    length, at = vint(head, at + 4)
    return None if length is None or at + length <= size else at + length


def vint(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML number at `at` and the place after it; None for 'unknown'."""
    if at >= len(data) or data[at] == 0:
        return None, at
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << (7 * width)) - 1)
    return (None if value == (1 << (7 * width)) - 1 else value), at + width


def png_end(file: BinaryIO, size: int) -> int | None:
    at = 8
    while at + 12 <= size:
        file.seek(at)
        header = file.read(8)
        at += 12 + int.from_bytes(header[:4], "big")
        if at > size:
            return at
        if header[4:8] == b"IEND":
            return None
    return size


def gif_ends(file: BinaryIO, head: bytes, size: int) -> bool:
    """Walk the blocks of a GIF to its trailer (0x3b)."""
    if len(head) < 13:
        return False
    at = 13 + (3 << ((head[10] & 7) + 1) if head[10] & 0x80 else 0)
    while at < size:
        file.seek(at)
        block = file.read(10)
        if block[:1] == b"\x3b":
            return True
        if block[:1] == b"\x2c" and len(block) == 10:
            at += 10 + (3 << ((block[9] & 7) + 1) if block[9] & 0x80 else 0) + 1
        elif block[:1] == b"\x21":
            at += 2
        else:
            return False
        while at < size:  # sub-blocks: a length byte each, closed by a zero
            file.seek(at)
            length = file.read(1)[0]
            at += 1 + length
            if length == 0:
                break
    return False
