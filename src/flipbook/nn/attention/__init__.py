"""Attention: one operation with a pattern (`patterns`), folded so that only what is read is computed (`folded`), and run by the fastest
kernel this device has (`kernels`)."""

from flipbook.nn.attention.folded import attend, attend_dense, attend_past
from flipbook.nn.attention.kernels import attend_frames, softmax_attention
from flipbook.nn.attention.patterns import (
    PATTERNS,
    AnyPattern,
    Pattern,
    SplitHeads,
    Window,
    apart,
    band,
    block_causal,
    causal,
    first_frame,
    pattern_mask,
    sparse_causal,
    teacher_forcing,
)

__all__ = [
    "PATTERNS",
    "AnyPattern",
    "Pattern",
    "SplitHeads",
    "Window",
    "apart",
    "attend",
    "attend_dense",
    "attend_frames",
    "attend_past",
    "band",
    "block_causal",
    "causal",
    "first_frame",
    "pattern_mask",
    "softmax_attention",
    "sparse_causal",
    "teacher_forcing",
]
