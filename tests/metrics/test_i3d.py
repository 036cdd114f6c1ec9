"""The networks that users bring weights for: keys and outputs of the public ports."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from flipbook.metrics.extractors import i3d_features, inception_features
from flipbook.metrics.i3d import I3D, Mixed, Unit, same_padding
from flipbook.metrics.inception import FidInception


def reference(package, path):
    """A module of an installed package, without importing the package around it, which wants much more."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    spec = importlib.util.spec_from_file_location("reference", f"{found.submodule_search_locations[0]}/{path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randomise(net):
    g = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=g)
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * (0.05 if value.ndim > 1 else 0.3))
    return net.eval()


@pytest.mark.parametrize(("length", "kernel", "stride"), [(16, 7, 2), (9, 7, 2), (15, 3, 2), (14, 2, 2), (7, 2, 2), (5, 3, 1), (5, 1, 1)])
def test_same_padding_gives_the_ceiling_of_length_over_stride_with_the_odd_zero_behind(length, kernel, stride):
    x = torch.ones(1, 1, length, 1, 1)
    padded = same_padding(x, (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert (len(padded) - kernel) // stride + 1 == -(-length // stride)
    front, total = int(padded.argmax()), len(padded) - length
    assert front == total // 2


def test_i3d_has_the_keys_and_shapes_of_the_public_port():
    theirs = reference("cdfvd", "third_party/i3d/pytorch_i3d.py")
    with torch.device("meta"):
        ours, port = I3D().state_dict(), theirs.InceptionI3d(400, in_channels=3).state_dict()
    assert {k: tuple(v.shape) for k, v in ours.items()} == {k: tuple(v.shape) for k, v in port.items()}


def test_units_and_blocks_of_i3d_agree_with_the_public_port_at_odd_sizes():
    theirs = reference("cdfvd", "third_party/i3d/pytorch_i3d.py")
    x = torch.randn(1, 4, 5, 9, 7, generator=torch.Generator().manual_seed(1))
    for ours, port in (
        (Unit(4, 6, 7, 2), theirs.Unit3D(4, 6, [7, 7, 7], stride=(2, 2, 2))),
        (Mixed(4, (2, 3, 4, 2, 3, 2)), theirs.InceptionModule(4, [2, 3, 4, 2, 3, 2], "m")),
    ):
        port.load_state_dict(randomise(ours).state_dict())
        torch.testing.assert_close(ours(x), port.eval()(x), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [9, 16])
@torch.inference_mode()
def test_the_logits_of_i3d_agree_with_the_public_port_on_the_same_weights(frames):
    theirs = reference("cdfvd", "third_party/i3d/pytorch_i3d.py")
    ours, port = randomise(I3D()), theirs.InceptionI3d(400, in_channels=3)
    port.load_state_dict(ours.state_dict())
    x = torch.rand(1, 3, frames, 224, 224, generator=torch.Generator().manual_seed(2)) * 2 - 1
    expected = port.eval()(x)
    assert expected.shape == (1, 400)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours(x), expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)


def test_i3d_refuses_clips_that_it_would_average_away():
    with torch.device("meta"):
        net = I3D()
    with pytest.raises(ValueError, match="T >= 9"):
        net(torch.zeros(1, 3, 8, 224, 224, device="meta"))
    with pytest.raises(ValueError, match="224"):
        net(torch.zeros(1, 3, 16, 128, 128, device="meta"))


def test_a_state_dict_of_something_else_is_refused_with_the_keys_that_differ(tmp_path):
    torch.save({"Conv3d_1a_7x7.conv3d.weight": torch.zeros(64, 3, 7, 7, 7), "head.weight": torch.zeros(2)}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"keys are missing.*1 are unknown \(head.weight"):
        i3d_features(tmp_path / "net.pt")


def test_the_inception_of_fid_has_the_keys_and_shapes_of_the_public_conversion():
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with torch.device("meta"):
        ours = FidInception().state_dict()
        port = {}
        for name, block in {
            "Mixed_5b": theirs.InceptionA(192, 32), "Mixed_6a": theirs.InceptionB(288), "Mixed_6c": theirs.InceptionC(768, 160),
            "Mixed_7a": theirs.InceptionD(768), "Mixed_7b": theirs.InceptionE_1(1280), "Mixed_7c": theirs.InceptionE_2(2048),
        }.items():  # fmt: skip
            port |= {f"{name}.{key}": tuple(value.shape) for key, value in block.state_dict().items()}
    assert port == {k: tuple(v.shape) for k, v in ours.items() if k.split(".")[0] in {name.split(".")[0] for name in port}}


@pytest.mark.slow
@torch.inference_mode()
def test_features_of_fid_agree_with_torch_fidelity_on_the_same_weights_from_bytes_on(tmp_path):
    """From bytes on: the resize and the odd scaling of the graph (v - 128) / 128 are part of the number."""
    theirs = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    from flipbook.metrics.protocols import PROTOCOLS
    from flipbook.metrics.resize import resize_clips
    from flipbook.shapes import pixels_to_tensor

    torch.save(randomise(FidInception()).state_dict(), tmp_path / "inception.pth")
    port = theirs.FeatureExtractorInceptionV3("it", ["2048"], str(tmp_path / "inception.pth"))
    frames = torch.randint(0, 256, (2, 1, 40, 56, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    expected = port(frames[:, 0].movedim(-1, 1))[0]
    protocol = PROTOCOLS["fid-per-frame"]
    ours = inception_features(tmp_path / "inception.pth").encode(
        resize_clips(pixels_to_tensor(frames), protocol.input_rule, protocol.input_size)
    )
    torch.testing.assert_close(ours, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-4)
