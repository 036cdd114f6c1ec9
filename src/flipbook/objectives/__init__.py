"""What one training step computes, one objective per file."""
