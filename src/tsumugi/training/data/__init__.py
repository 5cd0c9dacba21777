"""Which examples a step sees, and how they reach a rank."""
