"""The update: optimizer, learning rate, losses, precision."""
