"""One full run of the tests' experiment, shared; tests that change something work on a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from documents import write_articles
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

ROOT = Path(__file__).parents[2]
TINY = ROOT / "experiments/own_articles.yaml"
SNAKEMAKE = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile"]


def snakemake(folder, *arguments, config=TINY, check=True):
    """Run the real Snakemake in ``folder``; standard output and error come back together in ``stdout``."""
    line = [*SNAKEMAKE, "--configfile", config, "--directory", folder, "--cores", "2", *arguments]
    done = subprocess.run(
        [str(part) for part in line],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    if check:
        assert done.returncode == 0, done.stdout[-6000:]
    return done


def planned(folder, *arguments, config=TINY):
    """What a dry run would do: rule -> number of jobs."""
    output = snakemake(folder, "-n", *arguments, config=config).stdout
    if "Nothing to be done" in output:
        return {}
    table = output.split("Job stats:", 1)[1].split("total", 1)[0].splitlines()[3:]
    return {line.split()[0]: int(line.split()[1]) for line in table if line.strip()}


def prepare(folder):
    """The user's files: articles, and a small T5 that came from outside."""
    write_articles(folder / "articles")
    kana = map(chr, range(0x3041, 0x3097))
    alphabet = ["<pad>", "</s>", "<unk>", *kana, *"方選洗直（）0123456789"]
    vocabulary = {character: number for number, character in enumerate(dict.fromkeys(alphabet))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder / "my-model")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(fast), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder / "my-model")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder in which the whole experiment has run."""
    folder = tmp_path_factory.mktemp("experiment")
    prepare(folder)
    snakemake(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, with Snakemake's own records, that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    return folder
