"""State that survives a stop, the lock on it, and the model that is made of it in the end."""
