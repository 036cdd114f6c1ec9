"""PSNR, SSIM and LPIPS: identities, agreement with reference packages, what each can tell apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flipbook.data.world import draw
from flipbook.metrics.fidelity import psnr_of_clip, psnr_per_frame, ssim_per_frame
from flipbook.metrics.lpips import LPIPS, lpips_per_frame
from flipbook.shapes import pixels_to_tensor


def clips(seed=0, gap=0.1, size=32):
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 3, 4, size, size + 8, generator=g) * 2 - 1
    return x, (x + gap * torch.randn(x.shape, generator=g)).clamp(-1, 1)


def test_equal_clips_have_infinite_psnr_and_a_similarity_of_one():
    x, _ = clips()
    assert torch.isinf(psnr_per_frame(x, x)).all()
    torch.testing.assert_close(ssim_per_frame(x, x), torch.ones(2, 4, dtype=torch.float64))


def test_psnr_is_that_of_values_in_zero_to_one():
    x = torch.zeros(1, 3, 2, 16, 16)
    assert psnr_per_frame(x, x + 0.2)[0].tolist() == pytest.approx([20.0, 20.0], abs=1e-5)


def test_the_mean_over_frames_hides_a_bad_frame_that_the_error_of_the_clip_shows():
    x, _ = clips()
    y = x.clone()
    y[:, :, 1:] *= 0.99
    y[:, :, 0] *= 0.5
    assert (psnr_of_clip(x, y) < psnr_per_frame(x, y).mean(1) - 5).all()


def test_a_constant_offset_is_more_similar_than_noise_of_the_same_error():
    """Equal PSNR by construction, so nothing but structure is left to tell them apart."""
    x = pixels_to_tensor(draw("shapes", 1, frames=[0, 8]).frames)[None] * 0.7
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noise = noise / noise.square().mean((1, 3, 4), keepdim=True).sqrt() * 0.1
    assert psnr_per_frame(x, x + 0.1)[0].tolist() == pytest.approx(psnr_per_frame(x, x + noise)[0].tolist(), abs=1e-4)
    assert (ssim_per_frame(x, x + 0.1) > ssim_per_frame(x, x + noise) + 0.2).all()


def test_similarity_agrees_with_scikit_image_with_the_published_window():
    metrics = pytest.importorskip("skimage.metrics")
    x, y = clips()
    to_image = lambda z: ((z[0, :, 0].movedim(0, -1).double() + 1) / 2).numpy()
    theirs, full = metrics.structural_similarity(
        to_image(x), to_image(y), channel_axis=-1, data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    assert float(ssim_per_frame(x, y)[0, 0]) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-9)
    assert float(ssim_per_frame(x, y)[0, 0]) == pytest.approx(theirs, abs=1e-4)


def test_psnr_and_similarity_agree_with_torchmetrics():
    """torchmetrics pads its frames with their mirror; the windows that reach into it are left out, as everywhere here."""
    image = pytest.importorskip("torchmetrics.functional.image")
    x, y = clips()
    for frame in range(2):
        a, b = ((z[:, :, frame].double() + 1) / 2 for z in (x, y))
        psnr = image.peak_signal_noise_ratio(a[:1], b[:1], data_range=1.0)
        _, every = image.structural_similarity_index_measure(a[:1], b[:1], data_range=1.0, sigma=1.5, return_full_image=True)
        assert float(psnr_per_frame(x, y)[0, frame]) == pytest.approx(float(psnr), abs=1e-4)
        assert float(ssim_per_frame(x, y)[0, frame]) == pytest.approx(float(every[..., 5:-5, 5:-5].mean()), abs=1e-6)


def test_clips_that_do_not_belong_together_are_refused_and_never_cropped_or_scaled():
    x, y = clips()
    with pytest.raises(ValueError, match="alike"):
        ssim_per_frame(x, y[..., :-1])
    with pytest.raises(ValueError, match=r"clips are in \[-1, 1\]"):
        psnr_per_frame(x, (y + 1) * 127.5)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim_per_frame(x[..., :8], y[..., :8])


@pytest.fixture
def lpips_files(tmp_path):
    """A random AlexNet in torchvision's keys and random heads in the packages' keys, on disk."""
    torch.manual_seed(0)
    net = LPIPS("alex")
    backbone = {f"features.{key}": value for key, value in net.features.state_dict().items()}
    heads = {f"lin{i}.model.1.weight": torch.rand(1, len(head), 1, 1) for i, head in enumerate(net.heads)}
    torch.save(backbone | {"classifier.1.weight": torch.zeros(2, 2)}, tmp_path / "alexnet.pth")
    torch.save(heads, tmp_path / "heads.pth")
    return tmp_path / "alexnet.pth", tmp_path / "heads.pth"


def test_lpips_agrees_with_torchmetrics_on_the_same_weights(lpips_files, monkeypatch):
    reference = pytest.importorskip("torchmetrics.functional.image.lpips")
    ours = LPIPS.from_files("alex", *lpips_files)
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda net, pretrained: ours.features)
    theirs = reference._LPIPS(pretrained=False, net="alex", pnet_rand=True)
    theirs.load_state_dict(torch.load(lpips_files[1], weights_only=True), strict=False)
    x, y = clips(size=64)
    expected = theirs(x[:, :, 0], y[:, :, 0]).flatten()
    torch.testing.assert_close(lpips_per_frame(ours, x, y)[:, 0], expected, atol=1e-4, rtol=1e-4)
    assert (expected > 0.01).all()


def test_lpips_of_equal_frames_is_zero_and_files_that_do_not_fit_are_refused(lpips_files):
    net = LPIPS.from_files("alex", *lpips_files)
    x, _ = clips(size=64)
    assert lpips_per_frame(net, x, x).abs().max() < 1e-6
    with pytest.raises(ValueError, match="for vgg"):
        LPIPS.from_files("vgg", *lpips_files)
    with pytest.raises(ValueError, match="no heads"):
        LPIPS.from_files("alex", lpips_files[0], lpips_files[0])


def test_a_pickle_is_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("code was run",))

    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="more than tensors"):
        LPIPS.from_files("alex", tmp_path / "evil.pth", tmp_path / "evil.pth")


def test_the_number_of_a_clip_does_not_depend_on_its_batch():
    x, y = clips()
    np.testing.assert_allclose(ssim_per_frame(x, y)[1:], ssim_per_frame(x[1:], y[1:]), rtol=1e-12)
