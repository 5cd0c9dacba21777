"""The one error that whoever starts a virtual Slurm is meant to read."""


class BedError(Exception):
    """The virtual Slurm cannot do what was asked; the message says what was found and what to do."""
