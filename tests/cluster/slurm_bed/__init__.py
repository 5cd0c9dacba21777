"""A real Slurm with several virtual nodes on this one machine, for tests: everything it needs lies in one folder."""
