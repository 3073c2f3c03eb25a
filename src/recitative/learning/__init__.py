"""Learning: one training loop, what is transferred and how, baselines, search."""
