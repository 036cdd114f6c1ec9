import torch

from flipbook.nn.embed import RMSNorm, TimeEmbedding, sinusoid, zero_


def test_sinusoids_equal_the_reference_embedding():
    from diffusers.models.embeddings import get_timestep_embedding

    t = torch.tensor([0.0, 1.0, 17.5, 999.0])
    reference = get_timestep_embedding(t, 64, flip_sin_to_cos=True, downscale_freq_shift=0)
    torch.testing.assert_close(sinusoid(t, 64), reference, atol=1e-4, rtol=1e-5)


def test_rms_norm_equals_the_reference_norm():
    ours, reference = RMSNorm(12), torch.nn.RMSNorm(12, eps=1e-6)
    gain = torch.randn(12, generator=torch.Generator().manual_seed(0))
    ours.gain.data.copy_(gain)
    reference.weight.data.copy_(gain)
    x = torch.randn(3, 12, generator=torch.Generator().manual_seed(1)) * 7
    torch.testing.assert_close(ours(x), reference(x), atol=1e-5, rtol=1e-5)


def test_a_noise_level_per_frame_is_embedded_frame_by_frame():
    embed = TimeEmbedding(16, num_frequencies=8)
    t = torch.tensor([[0.0, 0.5], [0.5, 1.0]])
    out = embed(t)
    assert out.shape == (2, 2, 16)
    torch.testing.assert_close(out[0, 1], out[1, 0])
    torch.testing.assert_close(out[1, 1], embed(torch.tensor([1.0]))[0])


def test_a_zero_output_is_zero_in_weight_and_bias():
    layer = zero_(torch.nn.Conv2d(3, 4, 3))
    assert not layer.weight.any()
    assert not layer.bias.any()
