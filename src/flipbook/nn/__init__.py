"""Parts that two models or more use: doors, attention patterns, positions, norms, embeddings."""
