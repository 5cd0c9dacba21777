"""Who computes how much of the global batch: measured costs, plans, and new plans."""
