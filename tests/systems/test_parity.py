"""The parity table: every row within its bound, and the published page has just these rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from flipbook.systems import SYSTEMS
from full_size import BOUND, SHAPES
from parity_rows import rows, write_folders

PAGE = Path(__file__).parents[2] / "docs/parity.md"
FULL_SIZE = Path(__file__).parents[2] / "docs/full-size.md"
RECORD = Path(__file__).parents[2] / "src/flipbook/systems/parity.json"
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


def test_the_record_that_ships_has_the_figures_of_the_page_and_names_systems():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    lines = [f"| {row['layout']} | {row['component']} | {row['difference']:.1e} | {row['bound']:.0e} |" for row in record["rows"]]
    page = PAGE.read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("|")][2:] == lines
    assert {row["system"] for row in record["rows"]} <= SYSTEMS.keys()
    written = next(line for line in page if line.startswith("Written by"))
    assert all(f"{name} {version}" in written for name, version in record["versions"].items())


def test_the_page_of_full_sizes_has_every_shape_within_its_bound_and_in_24_gib():
    lines = [line.strip("| ").split(" | ") for line in FULL_SIZE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert [line[0] for line in lines] == list(SHAPES)
    for name, *_, whole, alone, error, bound in lines:
        assert float(error) < float(bound) == BOUND, name
        assert 0 < max(float(whole), float(alone)) < 24, name
