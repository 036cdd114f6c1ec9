"""The parity table: every row within its bound, and the published page has just these rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from parity_rows import rows, write_folders

PAGE = Path(__file__).parents[2] / "docs/parity.md"
ROWS = list(rows())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("public"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.layout}: {row.component}")
def test_every_row_is_within_its_bound(row, root):
    assert row.measure(root) < row.bound


def test_the_published_page_has_these_rows_within_their_bounds():
    lines = re.findall(r"^\| (.+?) \| (.+?) \| (\S+) \| (\S+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    published = {(layout, component): (float(error), float(bound)) for layout, component, error, bound in lines if layout != "layout"}
    assert set(published) == {(row.layout, row.component) for row in ROWS}
    assert all(error < bound for error, bound in published.values())
