"""Stages `caption` and `rewrite`: a captioner looks at a frame, a language model puts what is known into one sentence."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, ClassVar

from pydantic import Field

from flipbook.data.curation.frames import Look
from flipbook.data.curation.ledger import Row
from flipbook.data.curation.models import load, need_weights, pictures
from flipbook.data.curation.stage import EachClip

INSTRUCTION = (
    "Rewrite the notes about one video clip as a single plain English sentence that says what is seen and how it moves. "
    "Add nothing that is not in the notes. Answer with the sentence alone."
)


class Caption(EachClip):
    """Caption the middle frame with BLIP (arXiv:2201.12086), by beam search, so that the same frame has the same words.

    model: folder or hub id.   when: "missing" captions clips without words (or with faulty ones), "always" all of them.
    """

    name: ClassVar[str] = "caption"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("frames",)
    adds: ClassVar[tuple[str, ...]] = ("caption", "caption_by", "file_caption")

    model: str = "Salesforce/blip-image-captioning-base"
    when: str = Field("missing", pattern="^(missing|always)$")
    num_beams: int = Field(3, ge=1)
    max_new_tokens: int = Field(40, ge=1)

    def ready(self) -> None:
        need_weights(self.name, self.model)

    def run(self, row: Row, look: Look) -> Row:
        if self.when == "missing" and row.get("caption") and not row.get("caption_fault"):
            return {}
        model, processor = load(self.model, "BlipForConditionalGeneration")
        inputs = processor(images=pictures(look.few(1)), return_tensors="pt")
        ids = model.generate(**inputs, num_beams=self.num_beams, max_new_tokens=self.max_new_tokens, do_sample=False)
        words = processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        return {"caption": words, "caption_by": self.model, "file_caption": row.get("caption"), "caption_fault": None}


class Rewrite(EachClip):
    """Let a language model behind any OpenAI-compatible endpoint put caption and measured motion into one sentence.

    url: up to `/v1`, for instance http://localhost:8000/v1.   key_variable: the environment variable that holds the
    secret; it is read when it is sent, and written nowhere.   A clip whose request fails keeps its caption, and says
    why in `rewrite_error`; the next run asks again.
    """

    name: ClassVar[str] = "rewrite"
    alone: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("caption",)
    adds: ClassVar[tuple[str, ...]] = ("caption", "caption_by", "rewrite_error")

    url: str
    model: str
    instruction: str = INSTRUCTION
    key_variable: str = "OPENAI_API_KEY"
    timeout: float = Field(60.0, gt=0)
    retries: int = Field(2, ge=0)
    pause: float = Field(1.0, ge=0)

    def ready(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"rewrite.url={self.url!r} is no address. Try http://localhost:8000/v1")
        self.secret()

    def lasts(self, row: Row) -> bool:
        return not row.get("rewrite_error")

    def run(self, row: Row, look: Look) -> Row:
        if not row.get("caption"):
            return {"rewrite_error": None}
        try:
            words = self.ask(notes(row))
        except (OSError, HTTPException, ValueError, KeyError, IndexError, TypeError) as error:
            return {"rewrite_error": f"{type(error).__name__}: {error}"}
        return {"caption": words, "caption_by": f"{row.get('caption_by')}, {self.model}", "rewrite_error": None}

    def secret(self) -> str:
        """The key, or nothing. Raises ValueError, which does not show it, if no header can carry it."""
        key = os.environ.get(self.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the environment variable {self.key_variable} holds characters that no key has. Set it anew.")
        return key

    def ask(self, text: str) -> str:
        """One answer of the model. Raises OSError, HTTPException, or ValueError and its kin for an answer that is none."""
        messages = [{"role": "system", "content": self.instruction}, {"role": "user", "content": text}]
        body = {"model": self.model, "messages": messages, "temperature": 0, "seed": 0}
        headers = {"Content-Type": "application/json"}
        if secret := self.secret():
            headers["Authorization"] = f"Bearer {secret}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
        words = self._send(request)["choices"][0]["message"]["content"]
        sentence = " ".join(words.split()) if isinstance(words, str) else ""
        if not sentence:
            raise ValueError("the model answered with nothing")
        return sentence

    def _send(self, request: urllib.request.Request) -> Any:
        """The answer as data; what may pass, such as a busy server or a lost connection, is tried again."""
        for attempt in range(self.retries + 1):
            try:
                with _OPENER.open(request, timeout=self.timeout) as answer:
                    return json.load(answer)
            except (OSError, HTTPException) as error:
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
                    if error.code not in (429, 500, 502, 503, 504):
                        raise
                if attempt == self.retries:
                    raise
                time.sleep(self.pause * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


class _Here(urllib.request.HTTPRedirectHandler):
    """Refuses to be sent elsewhere: urllib would hand the key to whatever address an answer names."""

    def redirect_request(self, *args: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Here)


def notes(row: Row) -> str:
    """What is known of a clip, as lines for a language model."""
    lines = [f"caption: {row['caption']}"]
    if row.get("motion_camera") is not None:
        lines.append(f"camera motion: {_amount(row['motion_camera'])}")
        lines.append(f"motion of things: {_amount(row['motion_object'])}")
    return "\n".join(lines)


def _amount(speed: float) -> str:
    """Short sides a second in words."""
    return "none" if speed < 0.01 else "slow" if speed < 0.08 else "moderate" if speed < 0.3 else "fast"
