"""What a large RWKV-4 takes on a CPU: the peak resident memory of writing a few tokens, and of its export as a .pth.

The model has the sizes of RWKV-4 World 1.5B and random weights, stored as bf16, as published, or as fp32, as trained
here. Mapped files count where their pages are in memory, though the system may take these back at any time.

    python bench/rwkv_memory.py --dtype bf16
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "scripts"
TYPES = ("fp32", "fp16", "bf16")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=TYPES, default="bf16", help="type of the stored weights (%(default)s)")
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=5, help="how many are written (%(default)s)")
    return parser.parse_args()


def make_model(folder: Path, arguments: argparse.Namespace) -> int:
    """Write a model of random weights with the World tokenizer; returns how many parameters it has."""
    import torch
    from transformers import RwkvConfig

    from tsumugi.models.rwkv4 import Rwkv4ForCausalLM
    from tsumugi.models.rwkv_files import DTYPES
    from tsumugi.tokenization.world_tokenizer import WorldTokenizer

    config = RwkvConfig(
        vocab_size=65536,
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        rescale_every=0,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.device("meta"):
        model = Rwkv4ForCausalLM(config)
    model = model.to(DTYPES[arguments.dtype]).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "time_decay" in name:
                weight.fill_(-1)
            elif "ln" in name:
                weight.fill_(float(name.endswith("weight")))
            else:
                weight.normal_(0, 0.02, generator=generator)
    model.save_pretrained(str(folder), max_shard_size="50GB")
    WorldTokenizer().save_pretrained(str(folder))
    return sum(weight.numel() for weight in model.parameters())


def measure(script: str, *arguments: str) -> str:
    """Peak in GB and seconds of a script."""
    started = time.time()
    process = subprocess.Popen([sys.executable, SCRIPTS / script, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{script} failed")
    return f"{usage.ru_maxrss * 1024 / 1e9:.1f} GB, {time.time() - started:.0f} s"


def main() -> None:
    """Make the model, and measure each script in a process of its own."""
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as temporary:
        model = str(Path(temporary) / "model")
        with ProcessPoolExecutor(1) as other:  # so that its memory is not in the way
            parameters = other.submit(make_model, Path(model), arguments).result()
        print(f"{parameters / 1e9:.2f} billion parameters, stored as {arguments.dtype}", flush=True)
        tokens = str(arguments.tokens)
        print(
            f"writing {tokens} tokens:",
            measure("write_text.py", "--model", model, "--prompt", "", "--max-tokens", tokens),
        )
        for dtype in TYPES:
            output = Path(temporary) / f"{dtype}.pth"
            print(
                f"export as {dtype}:",
                measure("export_rwkv.py", "--model", model, "--output", str(output), "--dtype", dtype),
            )
            output.unlink()


if __name__ == "__main__":
    main()
