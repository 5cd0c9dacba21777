"""What the Snakefile and its rules need: Snakemake's lock, and what it does when a terminal closes."""
