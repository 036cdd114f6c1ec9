import pytest
import torch

from flipbook.autoencoders.frame import FrameAutoencoder, FrameAutoencoderConfig

CONFIG = FrameAutoencoderConfig(latent_channels=4, encoder_dims=(16, 16), encoder_blocks=(1, 1), decoder_dims=(16, 16, 8), decoder_blocks=(1, 1, 1))


def tiny():
    torch.manual_seed(0)
    return FrameAutoencoder(CONFIG).eval()


def clip(frames=3, height=16, width=24):
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


def test_eight_by_eight_pixels_become_one_cell_and_come_back():
    z = tiny().encode(clip())
    assert z.shape == (2, 4, 3, 2, 3)
    assert tiny().decode(z).shape == (2, 3, 3, 16, 24)


def test_no_frame_sees_another():
    autoencoder, x = tiny(), clip()
    changed = x.clone()
    changed[:, :, 1] *= -1
    a, b = autoencoder.encode(x), autoencoder.encode(changed)
    torch.testing.assert_close(a[:, :, [0, 2]], b[:, :, [0, 2]], atol=1e-6, rtol=1e-6)
    assert (a[:, :, 1] - b[:, :, 1]).abs().max() > 1e-3
    torch.testing.assert_close(autoencoder.decode(a)[:, :, 1], autoencoder.decode(a[:, :, 1:2])[:, :, 0], atol=1e-6, rtol=1e-6)


def test_the_latent_normaliser_is_undone_by_the_decoder():
    plain, scaled = tiny(), tiny()
    scaled.latent_mean.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))
    scaled.latent_std.copy_(torch.tensor([2.0, 0.5, 1.0, 3.0]))
    x = clip()
    z = scaled.encode(x)
    expected = (plain.encode(x) - scaled.latent_mean[:, None, None, None]) / scaled.latent_std[:, None, None, None]
    torch.testing.assert_close(z, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(scaled.decode(z), plain.decode(plain.encode(x)), atol=1e-4, rtol=1e-4)


def test_an_illegal_size_names_the_nearest_legal_one():
    with pytest.raises(ValueError, match="Try 24x24"):
        tiny().encode(clip(height=20, width=27))
