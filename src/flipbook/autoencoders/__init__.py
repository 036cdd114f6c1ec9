"""Pixels to latents and back: encode(x) -> z, decode(z) -> x, both (B, C, T, H, W)."""
