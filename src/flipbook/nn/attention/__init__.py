"""Attention: one operation with a pattern (`patterns`), run by the fastest kernel this device has (`kernels`)."""

from flipbook.nn.attention.kernels import attend_frames, softmax_attention
from flipbook.nn.attention.patterns import PATTERNS, Pattern, attend, attend_dense, pattern_mask

__all__ = ["PATTERNS", "Pattern", "attend", "attend_dense", "attend_frames", "pattern_mask", "softmax_attention"]
