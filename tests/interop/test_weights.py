"""Downloaded weights: every layout is read, and everything that can be wrong with the files is said by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from flipbook.interop.weights import BadWeights, read_weights

STEM = "diffusion_pytorch_model"
WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(2), "c": torch.arange(3)}


def write(path: Path, keys: str = "a.weight b.bias c") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: WEIGHTS[key] for key in keys.split()}, path)
    return path


def write_shards(folder: Path, dotted: str = "") -> Path:
    write(folder / f"{STEM}{dotted}-00001-of-00002.safetensors", "a.weight c")
    write(folder / f"{STEM}{dotted}-00002-of-00002.safetensors", "b.bias")
    places = {"a.weight": f"{STEM}{dotted}-00001-of-00002.safetensors", "b.bias": f"{STEM}{dotted}-00002-of-00002.safetensors"}
    index = folder / f"{STEM}.safetensors.index{dotted}.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places | {"c": places["a.weight"]}}))
    return index


def assert_all(weights):
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[key], WEIGHTS[key]) for key in WEIGHTS)


def test_whole_files_shards_and_variants_are_read(tmp_path):
    file = write(tmp_path / "plain" / f"{STEM}.safetensors")
    assert_all(read_weights(file)[0])
    assert_all(read_weights(file.parent)[0])
    assert_all(read_weights(write_shards(tmp_path / "shards").parent)[0])
    assert_all(read_weights(write(tmp_path / "v" / f"{STEM}.fp16.safetensors").parent, variant="fp16")[0])
    assert_all(read_weights(write_shards(tmp_path / "vs", ".bf16").parent, variant="bf16")[0])
    half, origin = read_weights(file.parent, dtype=torch.bfloat16)
    assert (half["a.weight"].dtype, half["c"].dtype) == (torch.bfloat16, torch.int64)
    assert origin == str(file)


def test_shards_written_by_diffusers_are_read(tmp_path):
    from diffusers import AutoencoderTiny

    peer = AutoencoderTiny(
        encoder_block_out_channels=(16,) * 2, decoder_block_out_channels=(16,) * 2, num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1)
    )
    peer.save_pretrained(tmp_path, max_shard_size="40KB", variant="fp16")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    weights, _ = read_weights(tmp_path, variant="fp16")
    assert weights.keys() == peer.state_dict().keys()
    assert all(torch.equal(weights[key], value) for key, value in peer.state_dict().items())


def test_a_half_downloaded_file_tells_its_bytes(tmp_path):
    file = write(tmp_path / f"{STEM}.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    with pytest.raises(BadWeights, match=rf"{STEM}.safetensors has {len(whole) - 5} of {len(whole)} bytes: half-downloaded"):
        read_weights(tmp_path)
    file.write_bytes(whole[:40])
    with pytest.raises(BadWeights, match="ends inside its header"):
        read_weights(file)
    file.write_bytes(b"")
    with pytest.raises(BadWeights, match="0 bytes"):
        read_weights(file)


def test_other_damage_has_its_own_words(tmp_path):
    file = write(tmp_path / f"{STEM}.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:8] + b"x" + whole[9:])
    with pytest.raises(BadWeights, match="is damaged"):
        read_weights(file)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")
    with pytest.raises(BadWeights, match="git lfs pull"):
        read_weights(file)
    with pytest.raises(BadWeights, match=r"gone.safetensors does not exist"):
        read_weights(tmp_path / "gone.safetensors")


def test_missing_shards_and_indexes_that_lie_are_named(tmp_path):
    index = write_shards(tmp_path)
    second = tmp_path / f"{STEM}-00002-of-00002.safetensors"
    write(second, "c")
    with pytest.raises(BadWeights, match=r"00002-of-00002.safetensors lacks b.bias and 0 more"):
        read_weights(tmp_path)
    second.unlink()
    with pytest.raises(BadWeights, match=f"lacks 1 of 2 shards: {second.name}"):
        read_weights(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../../elsewhere.safetensors"}}))
    with pytest.raises(BadWeights, match="outside the folder"):
        read_weights(tmp_path)
    index.write_text("{")
    with pytest.raises(BadWeights, match="no index of shards"):
        read_weights(tmp_path)


@pytest.mark.parametrize("name", ["model.ckpt", "diffusion_pytorch_model.bin", "x.pth"])
def test_pickles_are_refused_before_they_are_opened(tmp_path, name):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('the pickle ran')",))

    torch.save(Bomb(), tmp_path / name)
    with pytest.raises(BadWeights, match=f"{name} is a pickle"):
        read_weights(tmp_path / name)
    with pytest.raises(BadWeights, match=f"only {name}: a pickle"):
        read_weights(tmp_path)


def test_a_folder_without_the_weights_asked_for_says_which_it_has(tmp_path):
    write(tmp_path / "a" / f"{STEM}.fp16.safetensors")
    with pytest.raises(BadWeights, match=r"no weights; there are weights of variant='fp16'. Try variant='fp16'"):
        read_weights(tmp_path / "a")
    write(tmp_path / "b" / f"{STEM}.safetensors")
    with pytest.raises(BadWeights, match=r"no weights of variant 'bf16'; there are weights of no variant"):
        read_weights(tmp_path / "b", variant="bf16")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / f"{STEM}.safetensors.incomplete").write_bytes(b"123")
    with pytest.raises(BadWeights, match="a download that has not ended"):
        read_weights(tmp_path / "c")
    (tmp_path / "d").mkdir()
    with pytest.raises(BadWeights, match=r"holds no weights. Copy or download"):
        read_weights(tmp_path / "d")
