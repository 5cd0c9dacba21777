#!/usr/bin/env python
"""Continue a prompt with a finished run, or another model's directory, and print the text while it is written.

Without --temperature, --top-p and --top-k the likeliest token is taken each time. The penalties and the stop texts are
those of RWKV's PIPELINE_ARGS. Examples:

    python scripts/write_text.py --model results/models/rwkv-base/seed42 --prompt "端末の設定は"
    python scripts/write_text.py --model results/models/rwkv-base/seed42 --prompt "質問: 天気は?" --max-tokens 200 \
        --temperature 1.0 --top-p 0.85 --presence-penalty 0.2 --frequency-penalty 0.2 --penalty-decay 0.996 \
        --stop "質問:" --seed 7
"""

import argparse
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tsumugi.arguments import real_number, thread_count, whole_number
from tsumugi.config.experiment import Decoding
from tsumugi.errors import TsumugiError, run_cli
from tsumugi.schema.mistakes import describe

DEFAULT_TOKENS = 256


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="directory of a run, or of a model; hub:org/name")
    parser.add_argument("--prompt", required=True, help="text to go on from; may be empty")
    parser.add_argument(
        "--max-tokens", type=whole_number(1), help=f"length at most ({DEFAULT_TOKENS}, or what the model has room for)"
    )
    parser.add_argument("--temperature", type=real_number(), help="below 1: surer choices")
    parser.add_argument("--top-p", type=real_number(), help="choose among the likeliest tokens with this share in all")
    parser.add_argument("--top-k", type=whole_number(0), help="choose among so many of the likeliest tokens")
    parser.add_argument("--temperature-last", action="store_true", default=None, help="behind top-p, as RWKV does")
    parser.add_argument("--repetition-penalty", type=real_number(), help="divides the scores of what was written")
    parser.add_argument("--presence-penalty", type=real_number(), help="taken from the scores of what was written")
    parser.add_argument("--frequency-penalty", type=real_number(), help="the same, for each time that it was written")
    parser.add_argument("--penalty-decay", type=real_number(), help="how fast the number of times fades; 1: never")
    parser.add_argument("--stop", nargs="+", metavar="TEXT", help="texts that end the output")
    parser.add_argument("--stop-tokens", type=whole_number(0), nargs="+", metavar="ID", help="tokens that end it")
    parser.add_argument(
        "--banned-tokens", type=whole_number(0), nargs="+", metavar="ID", help="tokens that are never written"
    )
    parser.add_argument("--seed", type=whole_number(0), help="of the choices (0)")
    parser.add_argument("--threads", type=thread_count, default=2, help="CPU threads (%(default)s)")
    return parser.parse_args()


def decoding_of(arguments: argparse.Namespace) -> Decoding:
    """What was said on the command line; the rest is as in the configuration.

    Raises:
        TsumugiError: a value that no decoding can have.
    """
    said: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name in Decoding.model_fields}
    said["stop"] = [*(arguments.stop or ()), *(arguments.stop_tokens or ())]
    said = {name: value for name, value in said.items() if value is not None}
    said["do_sample"] = any(name in said for name in ("temperature", "top_p", "top_k"))
    try:
        return Decoding.model_validate(said)
    except ValidationError as error:
        flags = "; ".join(f"--{mistake.replace('_', '-', 1)}" for mistake in describe(error, said))
        raise TsumugiError(flags) from None


def main() -> None:
    arguments = parse_arguments()
    if Path(arguments.model).is_file():
        raise TsumugiError(f"{arguments.model}: is a file; scripts/import_rwkv.py makes a directory of an RWKV .pth")
    decoding = decoding_of(arguments)
    import torch  # after the arguments, which need not wait for it

    from tsumugi.generation.stream import stream_text
    from tsumugi.models.runs import load_writer
    from tsumugi.positions import most_written
    from tsumugi.tokenization.prompts import encode_text, model_input

    torch.set_num_threads(arguments.threads)
    model, tokenizer = load_writer(arguments.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    prompt = encode_text(tokenizer, arguments.prompt)
    read = len(model_input(prompt, tokenizer, model.config.is_encoder_decoder))
    most = arguments.max_tokens or most_written(model.config.to_dict(), read, DEFAULT_TOKENS)
    pieces = stream_text(model, tokenizer, prompt, decoding, most)
    beginning = next(pieces, "")  # before anything is printed: what the model has to say of itself goes first
    print(arguments.prompt, beginning, sep="", end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    run_cli(main)
