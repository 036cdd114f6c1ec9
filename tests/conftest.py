"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_folder(name: str) -> Path:
    """A folder of real footage: in $FLIPBOOK_SHARED, or in `shared` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("FLIPBOOK_SHARED", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"no real footage: {name}/ is not in $FLIPBOOK_SHARED, nor in `shared` beside the checkout")
    return folder


@pytest.fixture(scope="session")
def shared_clips() -> Path:
    """Short real recordings: *.mp4, README.md with their frame counts, metadata.jsonl with captions."""
    return shared_folder("clips")


@pytest.fixture(scope="session")
def shared_train_clips() -> Path:
    """Small training sets of real video: <set>/*.mp4 and index.jsonl."""
    return shared_folder("train-clips")
