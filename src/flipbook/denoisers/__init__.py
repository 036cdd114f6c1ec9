"""Networks that predict from a noisy video, one architecture per file, single-device code that reads top to bottom."""
