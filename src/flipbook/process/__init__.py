"""Noise paths, what a network predicts, step spacings, noise-level matrices, training times and noise."""

from flipbook.process.matrix import autoregressive_levels, from_strength, noise_levels, pyramid_levels
from flipbook.process.noise import NoiseSource, initial_noise
from flipbook.process.path import EDM, Cosine, Path, RectifiedFlow, shift_time
from flipbook.process.process import Prediction, Process, expand_t
from flipbook.process.times import log_normal_times, logit_normal_times, uniform_times
from flipbook.process.vp import VP, level_times

__all__ = [
    "EDM",
    "VP",
    "Cosine",
    "NoiseSource",
    "Path",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "autoregressive_levels",
    "expand_t",
    "from_strength",
    "initial_noise",
    "level_times",
    "log_normal_times",
    "logit_normal_times",
    "noise_levels",
    "pyramid_levels",
    "shift_time",
    "uniform_times",
]
