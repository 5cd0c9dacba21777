#!/usr/bin/env bash
# Resolve requirements.in into cpu.lock (used by `make`), cuda.lock, and cpu.yaml (the same pins for `--sdm conda`), and
# bench.in into bench.lock.
# Usage: envs/write_locks.sh PYTHON   (a Python that has uv)
set -euo pipefail
cd "$(dirname "$0")"

compile() { # INPUT OUTPUT COMMENT [uv options]
    local input=$1 output=$2 comment=$3
    shift 3
    {
        echo "# $comment Made by \`make lock\` from $input; do not edit."
        "$python" -m uv pip compile --quiet --no-header --no-annotate --python-version 3.11 "$@" "$input" |
            sed -E 's/^(torch==[0-9.]+)\+cpu/\1/'
    } >"$output.new"
    mv "$output.new" "$output"
}

python=$1
# Without an offer of a CPU file, torch on Linux brings the CUDA libraries along: that is cuda.lock.
compile requirements.in cuda.lock "For machines with an NVIDIA GPU." --no-config
# The same without them: pip takes what the torch file it finds asks for.
{
    sed '1s/.*/# For machines without a GPU. Made by `make lock` from requirements.in; do not edit./' cuda.lock |
        grep -vE '^(nvidia-|cuda-)'
} >cpu.lock
{
    echo "# The pins of cpu.lock for \`snakemake --sdm conda\`. Made by \`make lock\`; do not edit."
    echo "channels: [conda-forge, nodefaults]"
    echo "dependencies:"
    echo "  - python=3.11"
    echo "  - pip"
    echo "  - pip:"
    grep -v '^#' cpu.lock | sed 's/^/      - /'
} >cpu.yaml
compile bench.in bench.lock "For \`make bench\`, beside one of the other locks." --no-config --constraints cpu.lock
