"""Restorers: Video -> Video without a network. Rate, sound and recipe stay, and every filter over time restarts at cuts."""

from __future__ import annotations

from .chain import ORDER, RESTORERS, cuts_behind, restore
from .colour import match_colour, match_low_frequencies
from .deblur import deblur, sharpen
from .deflicker import deflicker
from .denoise import denoise, denoise_spatial
from .hold import hold_colour
from .interpolate import interpolate
from .levels import auto_levels, equalise, levels
from .split import prepared_clips, split

__all__ = [
    "ORDER",
    "RESTORERS",
    "auto_levels",
    "cuts_behind",
    "deblur",
    "deflicker",
    "denoise",
    "denoise_spatial",
    "equalise",
    "hold_colour",
    "interpolate",
    "levels",
    "match_colour",
    "match_low_frequencies",
    "prepared_clips",
    "restore",
    "sharpen",
    "split",
]
