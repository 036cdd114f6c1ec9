"""What the documents say holds: their commands parse, their names are there, their Python runs, their links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from flipbook import save_pretrained
from flipbook.cli import COMMANDS, command
from flipbook.training.recipe import load_recipe
from pages import blocks
from tiny import tiny_system

ROOT = Path(__file__).parent.parent
DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")) if path.is_file()]


def lines_of(path: Path) -> list[str]:
    """Every command of a page: the lines of its bash blocks, and what stands between backticks in its text."""
    inline = re.findall(r"`([^`\n]+ [^`\n]*)`", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))
    return [line for block in blocks(path, "bash") for line in block.splitlines()] + inline


LINES = [(path, line) for path in DOCUMENTS for line in lines_of(path)]


def flipbook_lines() -> list[str]:
    lines = [line for _, line in LINES] + (ROOT / "scripts" / "demo").read_text().splitlines()
    said = {line.partition("flipbook ")[2].strip() for line in lines if re.search(r"^(?:.*/|torchrun .*-m )?flipbook |&& .*/flipbook ", line)}
    return sorted(said - {"COMMAND --help"})


@pytest.mark.parametrize("line", flipbook_lines())
def test_every_command_of_the_documents_parses(line):
    name, *arguments = shlex.split(line, comments=True)
    assert name in COMMANDS
    found = typer.main.get_command(command(name))
    while hasattr(found, "commands") and arguments:
        name, *arguments = arguments
        found = found.commands[name]
    if arguments:                                                           # else the text only says its name
        found.make_context(name, arguments)                                 # raises a usage error for what does not exist


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_stand_where_they_are_read(path):
    """In bash blocks: not in blocks without a language, nor in indented ones."""
    plain = re.findall(r"^```\w*\n.*?^```", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not [block for block in plain if re.match(r"```(?!bash)\w*\n(flipbook|python|pytest|scripts/)", block)]
    assert not re.findall(r"^ {4}(?:flipbook|python|pytest|torchrun|scripts/\w+) .*", path.read_text(), flags=re.MULTILINE)


def test_recipes_are_changed_by_keys_that_they_have():
    lines = [shlex.split(line, comments=True) for line in flipbook_lines() if line.startswith("train recipes/")]
    assert len(lines) > 10
    for _, recipe, *changes in lines:
        load_recipe(ROOT / recipe, [change for change in changes if "=" in change])


def test_scripts_have_the_options_that_they_are_run_with():
    runs = [(words, script) for _, line in LINES for words in [line.split()] for script in words if re.fullmatch(r"(benchmarks|scripts)/[\w-]+(\.py)?", script)]
    assert len(runs) > 10
    for words, script in runs:
        code = "".join(path.read_text() for path in (ROOT / script, ROOT / "benchmarks" / "race.py"))
        wanted = [word for word in words[words.index(script) :] if word.startswith("--")]
        assert not [option for option in wanted if f'"{option}"' not in code], (script, wanted)


def test_files_that_commands_name_exist():
    words = {word.partition("::")[0] for _, line in LINES for word in line.split()}
    named = {word for word in words if re.match(r"(tests|benchmarks|scripts|recipes|docs|src)/", word)}
    assert len(named) > 20
    assert not sorted(name for name in named if not list(ROOT.glob(name)))


def names_of(path: Path) -> set[tuple[str, str]]:
    """(module, name) of every import in a page's Python, and of every `flipbook.module.name` in its text."""
    found = set()
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                found |= {(str(node.module), alias.name) for alias in node.names}
    dotted = re.findall(r"`(flipbook(?:\.\w+)*)\.(\w+)(?:\([^`]*\))?`", path.read_text())
    return found | set(dotted)


@pytest.mark.parametrize(("module", "name"), sorted({pair for path in DOCUMENTS for pair in names_of(path)}))
def test_python_names_of_the_documents_exist(module, name):
    if not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")                          # a module, then, or an error that names it


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
