"""The cluster: what machines a laboratory has, what a run needs of them, and how Slurm is asked for it."""
