# Snakemake runs this in each environment that it has made from cpu.yaml: the library comes from the workflow's own folder.
set -eu
python -m pip install --no-deps --no-build-isolation -e "$TSUMUGI_SOURCE"
