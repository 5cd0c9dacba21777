"""Train one model, from its last checkpoint if there is one.

The batch of every step is a function of data, seed and step; the micro-batch, the number of threads and the checkpoints
do not change what is computed (dropout's masks apart, which depend on the micro-batch). SIGTERM and Ctrl-C save the
state and leave with a non-zero status; the same command goes on from there.

    python scripts/train_model.py --spec results/specs/train_model/rwkv-base.json --seed 42 \
        --data results/tokens/debian-docs/ja-8k/*.json --start results/tokenizers/ja-8k/manifest.json \
        --state state/rwkv-base/seed42 --output results/models/rwkv-base/seed42/manifest.json
"""

import argparse
from pathlib import Path

from tsumugi.errors import run_cli
from tsumugi.spec_file import read_spec


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file that says what is trained")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="manifests of token files, or of pairs")
    parser.add_argument(
        "--start", type=Path, required=True, help="manifest of the run to start from, or the tokenizer's"
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for checkpoints, removed on success")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write last, beside the model")
    parser.add_argument("--micro-batch", type=int, default=16, help="examples computed at once (default: 16)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: what PyTorch chooses)")
    parser.add_argument("--checkpoint-seconds", type=float, default=60, help="time between checkpoints (default: 60)")
    return parser.parse_args()


def main() -> None:
    """Run the job."""
    arguments = parse_arguments()
    import torch  # after parsing: --help should not wait for it
    from tsumugi.training.job import Job, train

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    train(
        Job(
            spec=read_spec(arguments.spec, "objective", "recipe"),
            seed=arguments.seed,
            data=arguments.data,
            start=arguments.start,
            state=arguments.state,
            output=arguments.output.parent,
            micro_batch=arguments.micro_batch,
            checkpoint_seconds=arguments.checkpoint_seconds,
        )
    )


if __name__ == "__main__":
    run_cli(main)
