"""What `import flipbook` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import flipbook


def imported_after(code: str, *modules: str) -> str:
    code = f"{code}; import sys; print([m for m in {modules} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_public_names_are_exactly_all():
    assert dir(flipbook) == sorted(flipbook.__all__)
    for name in flipbook.__all__:
        assert getattr(flipbook, name) is not None
    assert set(flipbook.__all__) - {"__version__"} == flipbook._HOME.keys()


def test_a_name_that_is_not_there_is_an_attribute_error():
    assert not hasattr(flipbook, "nonsense")


def test_a_public_name_never_hides_a_module():
    """`from flipbook.x import y` puts the module x on the package, so no public name may be called as a module is."""
    from pathlib import Path

    modules = {path.stem for path in Path(flipbook.__file__).parent.iterdir()}
    assert not modules & set(flipbook.__all__)


def test_importing_the_package_imports_none_of_its_dependencies():
    assert imported_after("import flipbook", "torch", "numpy", "av", "PIL", "yaml", "pydantic", "typer") == "[]"


def test_the_public_names_import_no_extra():
    code = "import flipbook; [getattr(flipbook, name) for name in flipbook.__all__]"
    extras = ("transformers", "diffusers", "peft", "huggingface_hub", "scipy", "tensorboard", "imageio", "torch._dynamo")
    assert imported_after(code, *extras) == "[]"
