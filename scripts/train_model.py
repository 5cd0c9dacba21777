#!/usr/bin/env python
"""Train one model, from its last checkpoint if there is one, on one device or across unequal ones.

The batch of every step is a function of data, seed and step. How many processes there are, how many examples each
computes at once, the ZeRO stage, the threads and the checkpoints do not change what is computed (dropout's masks apart,
which depend on how the batch was cut). SIGTERM, Ctrl-C and SIGHUP (a closed terminal) save the state and leave with
a non-zero status; run the same command again to resume, also with another number of processes.

    python scripts/train_model.py --spec results/specs/train_model/rwkv-base.json --seed 42 \
        --data results/tokens/debian-docs/ja-8k/part-*.json --init-from results/tokenizers/ja-8k/manifest.json \
        --state state/rwkv-base/seed42 --output results/models/rwkv-base/seed42/manifest.json

Started like this it uses every GPU of the machine, a process each. Over several machines, start it with span_nodes.py
in a Slurm job, or with torchrun on each of them, with as many processes as that one has GPUs; see
docs/heterogeneous-gpus.md.

Inside a Slurm job it saves the state and leaves before the time limit, and has Slurm queue the job again.
"""

import argparse
from pathlib import Path

from tsumugi.arguments import real_number, thread_count, whole_number
from tsumugi.errors import run_cli
from tsumugi.training.distributed.launch import leave_after, one_voice, share_threads, spread


def numbers(text: str) -> list[int]:
    """``3,5`` -> [3, 5]."""
    return [whole_number(1)(number) for number in text.split(",")]


def count_or_auto(text: str) -> int | str:
    """A number of processes, or ``auto``."""
    return text if text == "auto" else whole_number(1)(text)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file that says what is trained")
    parser.add_argument("--seed", type=whole_number(0), required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="manifests of token files, or of pairs")
    parser.add_argument(
        "--init-from", type=Path, required=True, help="manifest of the run to start from, or the tokenizer's"
    )
    parser.add_argument("--state", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write last, beside the model")
    where = parser.add_argument_group("where and how fast; none of it changes the result")
    where.add_argument(
        "--processes",
        type=count_or_auto,
        default="auto",
        help="on this machine (default: auto, one for each GPU, one without); torchrun decides where it is used",
    )
    where.add_argument(
        "--micro-batch",
        type=numbers,
        metavar="N[,N…]",
        help="examples computed at once: one number, or one for each process of this machine "
        "(default: what the inventory or a calibration says, else 16)",
    )
    where.add_argument("--inventory", type=Path, help="YAML file of the kinds of machines there are")
    where.add_argument(
        "--calibration", type=Path, default=Path("calibration"), help="folder that calibrate_model.py writes to"
    )
    where.add_argument(
        "--zero-stage",
        choices=["auto", "0", "1", "2", "3"],
        default="auto",
        help="what is spread over the processes: 0 nothing (DDP), 1 optimizer states, 2 gradients too, 3 weights too "
        "(default: auto, the lowest that fits the memory)",
    )
    where.add_argument(
        "--offload", choices=["none", "cpu"], default="none", help="where optimizer states lie; cpu needs a ZeRO stage"
    )
    where.add_argument(
        "--gradient-checkpointing", action="store_true", help="less memory: activations are computed a second time"
    )
    where.add_argument(
        "--threads",
        type=thread_count,
        help="CPU threads of each process (default: its part of this machine's cores)",
    )
    where.add_argument(
        "--stage",
        action="store_true",
        help="copy the token files to the machine's own disk (scratch in the inventory) and read them there",
    )
    where.add_argument(
        "--in-workflow",
        action="store_true",
        help="started by Snakemake: wait for another job that trains from this state, and leave a record there",
    )
    where.add_argument(
        "--checkpoint-seconds", type=real_number(0), default=60, help="time between checkpoints (default: 60)"
    )
    return parser.parse_args()


def main() -> None:
    """Run the job."""
    with one_voice():
        arguments = parse_arguments()
        # after parsing: --help should not wait for torch
        from tsumugi.provenance.gather_shards import named
        from tsumugi.training.train_spec import read_training_spec
        from tsumugi.writable import refuse_unwritable

        spec = read_training_spec(arguments.spec)
        data = named(arguments.data)
        refuse_unwritable(arguments.output.parent, folder=True)
    spread(None if arguments.processes == "auto" else arguments.processes)
    share_threads(arguments.threads)
    from tsumugi.training.planning.placement import ComputeOptions
    from tsumugi.training.train_model import Job, train

    job = Job(
        spec=spec,
        seed=arguments.seed,
        data=data,
        start=arguments.init_from,
        state=arguments.state,
        output=arguments.output.parent,
        options=ComputeOptions(
            micro_batch=arguments.micro_batch,
            inventory=arguments.inventory,
            calibration=arguments.calibration,
            zero_stage=None if arguments.zero_stage == "auto" else int(arguments.zero_stage),
            offload=arguments.offload == "cpu",
            gradient_checkpointing=arguments.gradient_checkpointing,
            copy_data=arguments.stage,
        ),
        checkpoint_seconds=arguments.checkpoint_seconds,
        in_workflow=arguments.in_workflow,
    )
    leave_after(lambda: train(job))


if __name__ == "__main__":
    run_cli(main)
