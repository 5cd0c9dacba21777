"""A model that is read from an official .pth file answers as the rwkv package does with the same file."""

import subprocess
import sys

import pytest
import torch

from rwkv_models import MODELS, VOCABULARY
from tsumugi.models.rwkv_files import read_rwkv, write_rwkv

LENGTHS, CUTS, GREEDY = (1, 2, 17, 63), (1, 30, 62), 256
PACKAGE = """
import os, sys
version, *files = sys.argv[1:]
os.environ |= {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "RWKV_V7_ON": "1" if version == "7" else "0"}
import torch
torch.set_num_threads(1)
from rwkv.model import RWKV

def run(tokens, state=None):
    logits, state = model.forward(tokens, state, full_output=True)
    return logits.view(-1, logits.size(-1)), state

def steps(tokens):
    state, rows = None, []
    for token in tokens:
        logits, state = run([token], state)
        rows.append(logits)
    return torch.cat(rows)

for file in files:
    model = RWKV(file.removesuffix(".pth"), "cpu fp32")
    asked = torch.load(file + ".asked", weights_only=True)
    ids = asked["ids"].tolist()
    answer = {f"sequence {length}": run(ids[:length])[0] for length in asked["lengths"].tolist()}
    answer["steps"] = steps(ids)
    for cut in asked["cuts"].tolist():
        first, state = run(ids[:cut])
        answer[f"cut {cut}"] = torch.cat([first, run(ids[cut:], state)[0]])
    logits, state = run(ids[:9])
    written = []
    for _ in range(asked["greedy"]):
        written.append(int(logits[-1].argmax()))
        logits, state = run([written[-1]], state)
    answer["greedy"] = torch.tensor(written)
    torch.save(answer, file + ".answer")
"""


@pytest.fixture(scope="module", params=["4", "7"])
def answers(request, tmp_path_factory):
    """For every model of a version: its file, the ids, and what the rwkv package makes of them."""
    folder = tmp_path_factory.mktemp(f"rwkv{request.param}")
    ids = torch.randint(0, VOCABULARY, (max(LENGTHS),), generator=torch.Generator().manual_seed(3))
    asked = {"ids": ids, "lengths": torch.tensor(LENGTHS), "cuts": torch.tensor(CUTS), "greedy": GREEDY}
    files = []
    for number, make in enumerate(MODELS[request.param]):
        files.append(folder / f"{number}.pth")
        write_rwkv(make(), files[-1])
        torch.save(asked, f"{files[-1]}.asked")
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE, request.param, *map(str, files)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [(read_rwkv(file), ids, torch.load(f"{file}.answer", weights_only=True)) for file in files]


@torch.no_grad()
def test_logits_equal_the_rwkv_package(answers):
    for model, ids, answer in answers:
        whole = answer["steps"]
        assert whole.std() > 0.5, "weights that do little would agree by chance"
        for length in LENGTHS:
            assert torch.allclose(model(ids[None, :length]).logits[0], answer[f"sequence {length}"], atol=1e-4)
        state, rows = None, []
        for token in ids:
            output = model(token.view(1, 1), state=state)
            state = output.state
            rows.append(output.logits[0])
        assert torch.allclose(torch.cat(rows), whole, atol=1e-4)
        for cut in CUTS:
            first = model(ids[None, :cut])
            second = model(ids[None, cut:], state=first.state)
            ours = torch.cat([first.logits[0], second.logits[0]])
            assert torch.allclose(ours, answer[f"cut {cut}"], atol=1e-4)


def test_greedy_continuations_equal_the_rwkv_package(answers):
    for model, ids, answer in answers:
        written = model.generate(
            ids[None, :9], attention_mask=torch.ones(1, 9), max_new_tokens=GREEDY, do_sample=False, eos_token_id=None
        )
        assert written[0, 9:].tolist() == answer["greedy"].tolist()
        assert len(set(written[0, 9:].tolist())) > 5, "a loop of few tokens would agree by chance"
