"""Families without a noise level: a transformer over codes, and predictors of the next frame."""
