"""Editing: what of a source survives, and where it enters."""
