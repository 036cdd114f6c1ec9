"""Models by hub id: downloaded where there is a network, refused in plain words where there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from flipbook.interop.folder import from_pretrained, model_folder, shipped_models


def hub(monkeypatch, download):
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=download))


def test_a_hub_id_is_the_folder_it_was_downloaded_to_and_no_pickle_comes_along(monkeypatch, tmp_path):
    asked = {}
    hub(monkeypatch, lambda name, allow_patterns: asked.update(name=name, patterns=allow_patterns) or str(tmp_path))
    assert model_folder("somebody/some-model") == tmp_path
    assert asked["name"] == "somebody/some-model"
    assert not any(pattern.endswith((".bin", ".ckpt", ".pt", "*")) for pattern in asked["patterns"])


def test_without_a_network_or_the_extra_the_error_says_so(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route")

    hub(monkeypatch, offline)
    with pytest.raises(ValueError, match=r"'somebody/some-model' is neither a folder nor could it be read from the hub \(OSError\)"):
        model_folder("somebody/some-model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"flipbook\[hub\]"):
        model_folder("somebody/some-model")


def test_options_of_public_pipelines_are_refused_for_our_own_folders():
    if "thumb" not in shipped_models():
        pytest.skip("this checkout ships no weights")
    with pytest.raises(ValueError, match="motion_adapter"):
        from_pretrained(model_folder("thumb"), motion_adapter="somewhere")
