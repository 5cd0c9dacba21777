#!/usr/bin/env python
"""Find the largest micro-batch of a run that fits the devices of this machine, and how long a step takes on them.

It tries: whole training steps of 1, 2, 4, … of the longest examples, in a process that may run out of memory, then the
sizes between the last that fitted and the first that did not. The trainer, and its plan of who computes how much, read
what was found. What was measured once is not measured again.

    python scripts/calibrate_model.py --spec results/specs/train_model/rwkv-base.json --seed 42 \
        --data results/tokens/debian-docs/ja-8k/part-*.json --init-from results/tokenizers/ja-8k/manifest.json \
        --output calibration/

Run it once on every kind of machine, with the same --output where they share a disk.
"""

import argparse
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from tsumugi.arguments import real_number, thread_count, whole_number
from tsumugi.errors import TsumugiError, run_cli


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file that says what is trained")
    parser.add_argument("--seed", type=whole_number(0), required=True)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="manifests of token files, or of pairs")
    parser.add_argument(
        "--init-from", type=Path, required=True, help="manifest of the run to start from, or the tokenizer's"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the calibrations")
    parser.add_argument("--record", type=Path, help="JSON file to write what was found to, besides the folder")
    parser.add_argument(
        "--processes", type=whole_number(), default=1, help="of each trial, one for each GPU (default: 1)"
    )
    parser.add_argument("--zero-stage", type=int, choices=range(4), default=0, help="as in training (default: 0)")
    parser.add_argument("--offload", choices=["none", "cpu"], default="none", help="as in training (default: none)")
    parser.add_argument("--precision", choices=["auto", "fp32", "fp16", "bf16"], help="default: the recipe's")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="as in training")
    parser.add_argument(
        "--memory-gib", type=real_number(), help="leave the rest to others: limit of each process (default: none)"
    )
    parser.add_argument("--largest", type=whole_number(), help="the most to try (default: the recipe's global_batch)")
    parser.add_argument(
        "--threads", type=thread_count, help="CPU threads of each process (default: what PyTorch chooses)"
    )
    parser.add_argument("--trial", nargs=3, metavar=("NOTES", "FITS", "TOO_LARGE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing."""
    for name in ("processes", "largest", "memory_gib", "threads"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise TsumugiError(f"--{name.replace('_', '-')} {value}: it must be more than 0")
    if arguments.offload == "cpu" and arguments.zero_stage == 0:
        raise TsumugiError("--offload cpu needs --zero-stage 1, 2 or 3")


def try_sizes(arguments: argparse.Namespace, largest: int, spec: dict) -> None:
    """Be a process of a trial."""
    import torch

    from tsumugi.provenance.gather_shards import named
    from tsumugi.training.distributed.launch import leave_after
    from tsumugi.training.planning.micro_batch_trial import Request, run_trial

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    request = Request(
        spec=spec,
        seed=arguments.seed,
        data=named(arguments.data),
        start=arguments.init_from,
        precision=arguments.precision,
        zero_stage=arguments.zero_stage,
        offload=arguments.offload == "cpu",
        gradient_checkpointing=arguments.gradient_checkpointing,
        memory_gib=arguments.memory_gib,
        largest=largest,
        folder=arguments.output,
    )
    notes, fits, too_large = arguments.trial
    leave_after(lambda: run_trial(request, Path(notes), int(fits), int(too_large) or None))


def main() -> None:
    """Search, or be a process of a trial."""
    arguments = parse_arguments()
    check(arguments)
    from tsumugi.training.train_spec import read_training_spec

    spec = read_training_spec(arguments.spec)
    largest = arguments.largest or spec["recipe"]["global_batch"]
    if arguments.trial:
        try_sizes(arguments, largest, spec)
        return
    from tsumugi.atomic import write_json
    from tsumugi.cluster.inventory import this_host
    from tsumugi.training.calibrate_model import search
    from tsumugi.training.distributed.interruption import stopping_signals
    from tsumugi.training.planning.calibration import save
    from tsumugi.writable import refuse_unwritable

    refuse_unwritable(arguments.output / "calibration.json")
    if arguments.record is not None:
        refuse_unwritable(arguments.record)
    for number in stopping_signals():  # so that no trial outlives this process
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    command = [sys.executable, __file__, *sys.argv[1:], "--trial"]
    found, file = search(command, arguments.processes, largest, arguments.memory_gib)
    if file is not None:
        print(f"{file}: calibrated before; delete it to measure again")
    else:
        file = save(arguments.output, found)
        print(f"{file}: written")
    if arguments.record is not None:
        write_json(arguments.record, {"calibration": str(file), "host": this_host()} | asdict(found))
    limit = "" if found.largest_micro_batch < found.tried_up_to else " (the most that was to be tried)"
    print(
        f"largest micro-batch {found.largest_micro_batch}{limit}; {found.fixed_seconds:.4g} s and "
        f"{found.per_example_seconds:.4g} s an example for each micro-step, {found.update_seconds:.4g} s for the update"
    )


if __name__ == "__main__":
    run_cli(main)
