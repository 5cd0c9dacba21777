"""The configuration: its sections, how they are read and checked, and the specs that the jobs get."""
