"""Public folders that are not what they claim: `flipbook generate --model FOLDER` ends with 1, names the file or the key, and writes nothing."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from flipbook.cli import main
from flipbook.interop.folder import from_pretrained
from public_folders import write_image_pipeline

STEM = "diffusion_pytorch_model"
FILES = {"unet": f"{STEM}.safetensors", "vae": f"{STEM}.safetensors", "text_encoder": "model.safetensors"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_image_pipeline(tmp_path_factory.mktemp("public") / "sd")


@pytest.fixture
def folder(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "sd")


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the command on a folder, which must refuse it; gives what it said."""

    def run(folder, *options):
        with pytest.raises(SystemExit) as ended:
            main(["generate", "a ball", "--model", str(folder), "--num-inference-steps", "1", "--output", str(tmp_path / "out" / "clip.mp4"), *options])
        out, err = capsys.readouterr()
        assert ended.value.code == 1
        assert "Traceback" not in out + err
        assert not (tmp_path / "out").exists()
        return err

    return run


def rewrite(path, change):
    weights = change(load_file(path))
    save_file(weights, path, metadata={"format": "pt"})


def first(weights):
    return min(key for key in weights if key.endswith("weight"))


def sharded(path):
    """The weights of a file in two, with the index that says which are where."""
    weights = load_file(path)
    keys, stem = sorted(weights), path.name.removesuffix(".safetensors")
    names = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    halves = [keys[::2], keys[1::2]]
    for name, half in zip(names, halves, strict=True):
        save_file({key: weights[key] for key in half}, path.parent / name, metadata={"format": "pt"})
    index = {"weight_map": {key: name for name, half in zip(names, halves, strict=True) for key in half}}
    (path.parent / f"{path.name}.index.json").write_text(json.dumps(index))
    path.unlink()
    return path.parent / names[1]


@pytest.mark.parametrize("part", FILES)
class TestEachPart:
    def test_a_missing_key(self, folder, refused, part):
        path = folder / part / FILES[part]
        lost = first(load_file(path))
        rewrite(path, lambda weights: {key: value for key, value in weights.items() if key != lost})
        said = refused(folder)
        assert f"{part}/{FILES[part]} does not fit" in said
        assert "1 missing: " in said

    def test_a_key_of_nothing(self, folder, refused, part):
        rewrite(folder / part / FILES[part], lambda weights: weights | {"stranger.weight": torch.ones(1)})
        said = refused(folder)
        assert f"{part}/{FILES[part]} does not fit" in said
        assert "stranger.weight" in said

    def test_a_wrong_shape(self, folder, refused, part):
        path = folder / part / FILES[part]
        bent = first(load_file(path))
        rewrite(path, lambda weights: weights | {bent: torch.ones(7)})
        said = refused(folder)
        assert f"{part}/{FILES[part]} does not fit" in said
        assert f"of another shape: {bent} (7,), not " in said

    def test_a_missing_shard(self, folder, refused, part):
        shard = sharded(folder / part / FILES[part])
        whole = from_pretrained(folder)
        assert whole.name == "sd"
        shard.unlink()
        assert f"{part} lacks 1 of 2 shards: {shard.name}" in refused(folder)

    def test_half_a_file(self, folder, refused, part):
        path = folder / part / FILES[part]
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert f"{part}/{FILES[part]} has {len(whole) // 2} of {len(whole)} bytes: half-downloaded" in refused(folder)

    def test_a_download_that_has_not_ended(self, folder, refused, part):
        path = folder / part / FILES[part]
        path.rename(path.with_suffix(".safetensors.incomplete"))
        assert f"{part} holds no weights, but {path.name}.incomplete: a download that has not ended" in refused(folder)

    def test_a_pickle_which_is_not_opened(self, folder, refused, part):
        class Bomb:
            def __reduce__(self):
                return (exec, ("raise KeyboardInterrupt('the pickle ran')",))

        path = folder / part / FILES[part]
        path.unlink()
        torch.save(Bomb(), path.with_suffix(".bin"))
        assert f"{part} holds no weights in safetensors files, only {path.stem}.bin: a pickle" in refused(folder)

    def test_another_class(self, folder, refused, part):
        path = folder / part / "config.json"
        name = "architectures" if part == "text_encoder" else "_class_name"
        value = ["os.system"] if part == "text_encoder" else "os.system"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
        assert f"{part}/config.json: class 'os.system' is not known" in refused(folder)

    def test_a_config_that_is_cut(self, folder, refused, part):
        path = folder / part / "config.json"
        path.write_text(path.read_text()[:20])
        assert f"{part}/config.json is not valid JSON" in refused(folder)

    def test_files_of_a_variant_are_read_when_asked_for_and_named_when_not(self, folder, refused, part):
        for name, file in FILES.items():
            path = folder / name / file
            path.rename(path.with_suffix(".fp16.safetensors") if name == part else path)
        assert f"{part} holds no weights; there are weights of variant='fp16'" in refused(folder)
        for name, file in FILES.items():
            path = folder / name / file
            if path.exists():
                path.rename(path.with_suffix(".fp16.safetensors"))
        assert from_pretrained(folder, variant="fp16").name == "sd"


def test_an_unknown_pipeline_and_a_folder_of_something_else(folder, refused, tmp_path):
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": "KandinskyPipeline"}))
    assert "model_index.json: pipeline 'KandinskyPipeline' is not known" in refused(folder)
    index.write_text("[]")
    assert "model_index.json holds list: it should hold an object" in refused(folder)
    index.unlink()
    assert f"{folder} holds no model_index.json" in refused(folder)


def test_a_missing_part_is_named(folder, refused):
    shutil.rmtree(folder / "tokenizer")
    assert f"{folder / 'tokenizer'} is missing" in refused(folder)
    shutil.rmtree(folder / "text_encoder")
    assert "holds neither text_encoder nor image_encoder" in refused(folder)
    shutil.rmtree(folder / "scheduler")
    assert "scheduler_config.json is missing" in refused(folder)


def test_a_tokenizer_that_cannot_be_read_is_named(folder, refused):
    for file in (folder / "tokenizer").iterdir():
        file.write_text("{")
    assert f"{folder / 'tokenizer'} holds no tokenizer that can be read" in refused(folder)


def test_an_unknown_scheduler_and_a_motion_adapter_of_another_model(folder, refused, tmp_path):
    path = folder / "scheduler/scheduler_config.json"
    kept = path.read_text()
    path.write_text(json.dumps(json.loads(kept) | {"_class_name": "LCM"}))
    assert "scheduler_config.json: scheduler 'LCM' is not known" in refused(folder)
    path.write_text(kept)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter/config.json").write_text(json.dumps({"_class_name": "MotionAdapter", "block_out_channels": [32, 64]}))
    assert "adapter/config.json: this motion adapter was made for another image network: widths (32, 64)" in refused(
        folder, "--motion-adapter", str(tmp_path / "adapter")
    )
