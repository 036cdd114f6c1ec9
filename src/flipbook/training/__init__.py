"""What the training loop (`flipbook.train`) stands on: the recipe, its plan, the clock, the log, validation, the optimiser."""
