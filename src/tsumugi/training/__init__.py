"""Training: which examples a step sees, what is predicted, the loop, and the state that survives it."""
