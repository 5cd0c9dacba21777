"""Slurm as the workflow sees it: what is asked for, Snakemake's executor, and the tools for an inventory."""
