"""What the documents say holds: their commands parse, their Python runs, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from flipbook import save_pretrained
from flipbook.cli import COMMANDS, command
from pages import blocks
from tiny import tiny_system

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")) if path.is_file()]


def flipbook_lines() -> list[str]:
    lines = [line for path in DOCUMENTS for block in blocks(path, "bash") for line in block.splitlines()]
    lines += (ROOT / "scripts" / "demo").read_text().splitlines()
    lines += re.findall(r"`(flipbook [^`]*)`", (ROOT / "README.md").read_text())
    return sorted({line.partition("flipbook ")[2].strip() for line in lines if re.search(r"(^|/)flipbook ", line)})


@pytest.mark.parametrize("line", flipbook_lines())
def test_every_command_of_the_documents_parses(line):
    name, *arguments = shlex.split(line)
    assert name in COMMANDS
    typer.main.get_command(command(name)).make_context(name, arguments)     # raises a usage error for what does not exist


def test_the_two_set_up_commands_stand_in_the_readme():
    first, second = (line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines() if line.startswith("python3"))
    assert first == (
        "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . "
        '&& .venv/bin/flipbook generate "a red circle moves right on a black background"'
    )
    assert second == 'python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ".[dev]" && .venv/bin/pytest'


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    save_pretrained(tiny_system(), tmp_path / "weights" / "thumb")
    monkeypatch.setattr("flipbook.interop.folder.SHIPPED", tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    for block in blocks(ROOT / "README.md", "python"):
        exec(block, {})
    assert Path("circle.mp4").is_file()
    assert capsys.readouterr().out == "4 8.0 0\n"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(path):
    text = path.read_text()
    targets = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"`((?:src/|tests/|scripts/|recipes/|\.ci/)[\w./-]+)`", text)
    missing = [target for target in targets if not ((path.parent / target).exists() or (ROOT / target).exists())]
    assert not missing


def test_rooms_that_the_readme_names_exist():
    rooms = re.findall(r"^\| (`flipbook/.*?) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert rooms
    for row in rooms:
        for name in re.findall(r"`(?:flipbook/)?([\w./]+)`", row):
            assert (ROOT / "src" / "flipbook" / name).exists(), name


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    names = {re.split(r"[^\w-]", requirement)[0].lower().replace("_", "-") for requirement in wanted}
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    assert names - {"flipbook"} <= pinned.keys()                            # an extra may name another of ours
    assert pinned["torch"] == "2.13.0"
