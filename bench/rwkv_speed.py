"""RWKV-4 on the CPU: its operator, a training step, and generation, against the loop, Transformers, and `rwkv`.

    python bench/rwkv_speed.py

The operator, forward and backward, against the plain time loop in PyTorch, which Transformers has too; a training step
of 12 layers of 768 channels (forward, backward, AdamW) against Transformers' `RwkvForCausalLM` with the same weights;
greedy generation for 64 prompts at once with 6 layers of 512 channels against the `rwkv` package, which takes one
prompt after another. Both sides of a row compute in fp32 with the same threads, take turns, and must agree: the same
loss, the same continuations.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, RwkvForCausalLM

from results import Row, device_name, report
from tsumugi.models.kernels.wkv4 import empty_state, wkv, wkv_reference
from tsumugi.models.packed_linear import packed
from tsumugi.models.rwkv4 import Rwkv4ForCausalLM, build
from tsumugi.models.rwkv_files import write_rwkv

SHAPES = ((1, 512, 768), (4, 512, 768))  # batch, time, channels
LAYERS, WIDTH, VOCABULARY = 12, 768, 8000
PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 64, 16, 64
ALONE = 6  # prompts that the package is given: it takes about a second for each
TURNS = 5


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(ours: Callable[[], object], other: Callable[[], object], turns: int = TURNS) -> tuple[float, float, float]:
    """Medians of both times and of the ratios other / ours of neighbours, after a turn that is not counted."""
    pairs = [(seconds(ours), seconds(other)) for _ in range(turns + 1)][1:]
    ratios = [theirs / own for own, theirs in pairs]
    return *(statistics.median(side) for side in zip(*pairs, strict=True)), statistics.median(ratios)


def operator_rows() -> tuple[list[Row], float]:
    """The operator in both shapes; and the seconds of ours in the larger."""
    rows = []
    for shape in SHAPES:
        random = torch.Generator().manual_seed(0)
        decay = torch.rand(shape[2], generator=random) * 10 - 6
        tensors = [decay, *(torch.randn(size, generator=random) for size in (shape[2], shape, shape))]
        arguments = [tensor.requires_grad_() for tensor in tensors]
        gradient = torch.randn(shape, generator=random)
        state = empty_state(shape[0], shape[2], torch.device("cpu"))

        def ours(arguments: list[torch.Tensor] = arguments, gradient: torch.Tensor = gradient) -> None:
            wkv(*arguments)[0].backward(gradient)

        def loop(
            arguments: list[torch.Tensor] = arguments, gradient: torch.Tensor = gradient, state: tuple = state
        ) -> None:
            wkv_reference(*arguments, state)[0].backward(gradient)

        mine, theirs, ratio = in_turns(ours, loop)
        name = f"WKV-4 forward and backward, {shape}, against the time loop"
        rows.append(Row(name, f"{mine * 1e3:.1f} ms", f"{theirs * 1e3:.0f} ms", ratio, 15, True, device_name()))
    return rows, mine


def lively(model: Rwkv4ForCausalLM) -> Rwkv4ForCausalLM:
    """The published initialisation has zeros, with which there would be less to agree about."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


def small(layers: int, width: int) -> Rwkv4ForCausalLM:
    """A model with a vocabulary of 8,000."""
    torch.manual_seed(0)
    return lively(build({"n_layer": layers, "n_embd": width, "tie_embeddings": False}, VOCABULARY, pad=0, bos=1, eos=2))


def step_rows(operator_seconds: float) -> list[Row]:
    """A training step, against Transformers' model; and the operator's share of it."""
    batch, time_steps, _ = SHAPES[1]
    ours = small(LAYERS, WIDTH).train()
    with tempfile.TemporaryDirectory(prefix="tsumugi-rwkv-") as folder:
        ours.save_pretrained(folder)
        other = RwkvForCausalLM.from_pretrained(folder).train()
    tokens = torch.randint(VOCABULARY, (batch, time_steps + 1), generator=torch.Generator().manual_seed(1))
    losses: dict[int, list[float]] = {id(ours): [], id(other): []}

    def step_of(model: PreTrainedModel) -> Callable[[], None]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def step() -> None:
            logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
            loss = cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[id(model)].append(loss.item())

        return step

    mine, theirs, ratio = in_turns(step_of(ours), step_of(other), turns=3)
    for one, two in zip(*losses.values(), strict=True):
        if abs(one - two) > 1e-4:
            raise RuntimeError(f"the losses differ: {losses}")
    shape = f"{LAYERS} x {WIDTH}, batch {batch}, {time_steps} tokens"
    part = LAYERS * operator_seconds
    share = Row("WKV's share of that step", f"{part:.2f} s", f"{mine:.2f} s", part / mine, 0.1, False, device_name())
    name = f"training step, {shape}, against Transformers"
    return [Row(name, f"{mine:.2f} s", f"{theirs:.2f} s", ratio, 1.6, True, device_name()), share]


def generation_row() -> Row:
    """Greedy continuations of 64 prompts at once, against one after another by the `rwkv` package."""
    model = small(6, 512).eval()
    random = torch.Generator().manual_seed(2)
    prompts = torch.randint(3, VOCABULARY, (PROMPTS, PROMPT_TOKENS), generator=random)

    def together() -> torch.Tensor:
        options = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "eos_token_id": None}
        with torch.inference_mode(), packed(model):  # as generate_texts
            return model.generate(prompts, attention_mask=torch.ones_like(prompts), **options)[:, PROMPT_TOKENS:]

    with tempfile.TemporaryDirectory(prefix="tsumugi-rwkv-") as folder:
        write_rwkv(model, Path(folder) / "model.pth")
        with redirect_stdout(sys.stderr):
            from rwkv.model import RWKV

            package = RWKV(model=f"{folder}/model", strategy="cpu fp32")

    def alone() -> list[list[int]]:
        written = []
        for prompt in prompts[:ALONE].tolist():
            logits, state = package.forward(prompt, None)
            written.append([int(logits.argmax())])
            while len(written[-1]) < NEW_TOKENS:
                logits, state = package.forward([written[-1][-1]], state)
                written[-1].append(int(logits.argmax()))
        return written

    if together()[:ALONE].tolist() != alone():
        raise RuntimeError("the continuations differ")
    mine, theirs, _ = in_turns(together, alone, turns=3)
    rates = PROMPTS * NEW_TOKENS / mine, ALONE * NEW_TOKENS / theirs
    texts = (f"{rate:.0f} tokens/s" for rate in rates)
    return Row("generation for 64 prompts, 6 x 512, against rwkv", *texts, rates[0] / rates[1], 15, True, device_name())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the rows here too, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows, operator_seconds = operator_rows()
    report([*rows, *step_rows(operator_seconds), generation_row()], args.output)


if __name__ == "__main__":
    main()
