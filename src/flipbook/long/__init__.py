"""Long clips and clips in stages: frame plans, drafts that one stage hands to the next, cascades."""
