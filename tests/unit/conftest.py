"""Small real parts that several tests share: a tokenizer, token files, pairs."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import settings
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tsumugi.provenance import write_manifest
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter
from tsumugi.tokenization.special_tokens import SENTINELS, SPECIAL_TOKENS

WORDS = 93

settings.register_profile("noisy-machine", deadline=None)
settings.load_profile("noisy-machine")


def pytest_collection_modifyitems(items):
    """Tests marked ``gpu`` are left out on a machine without one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="there is no GPU here"))


@pytest.fixture(scope="session")
def word_tokenizer():
    """Special tokens at their fixed ids, then w0, w1, … : text is words between spaces."""
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, *(f"w{i}" for i in range(WORDS))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="[MASK]",
        extra_special_tokens=list(SENTINELS),
    )


@pytest.fixture(scope="session")
def token_folder(tmp_path_factory, word_tokenizer):
    """A working folder with a tokenizer, tokens of a corpus, and pairs of a task, as the earlier stages leave them."""
    folder = tmp_path_factory.mktemp("work")
    random = np.random.default_rng(0)
    first, vocab = len(SPECIAL_TOKENS), len(word_tokenizer)

    def sequence(low, high):
        start = random.integers(0, WORDS)
        return first + (start + np.arange(random.integers(low, high)) * 3) % WORDS  # predictable: it can be learnt

    tokens = folder / "results/tokens/numbers/words"
    for shard in ("00000", "00001"):
        counts = {}
        for split, documents in (("train", 30), ("dev", 6)):
            rows = [[*sequence(10, 40), 2] for _ in range(documents)]
            with IndexedDatasetWriter(_made(tokens / split / shard), vocab) as writer:
                for row in rows:
                    writer.add_document([row])
            total = sum(map(len, rows))
            counts[split] = {"documents": documents, "tokens": total, "bytes": 3 * total, "characters": 3 * total}
        write_manifest(tokens / f"{shard}.json", kind="encode_shard", spec={}, results=counts)
    pairs = folder / "results/pairs/count/plain/words"
    for split, number in (("train", 40), ("dev", 8)):
        with IndexedDatasetWriter(_made(pairs / split), vocab) as writer:
            for _ in range(number):
                output = sequence(5, 12)
                writer.add_document([output[: random.integers(1, 4)], [*output, 2]])
    write_manifest(pairs / "manifest.json", kind="encode_pairs", spec={})
    tokenizer = folder / "results/tokenizers/words"
    word_tokenizer.save_pretrained(tokenizer)
    write_manifest(tokenizer / "manifest.json", kind="train_tokenizer", spec={})
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The folder of a tiny model in a layout of the hub, by the layout's name; made when it is asked for first."""
    from published_models import LAYOUTS

    made = {}

    def folder(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "model"
            LAYOUTS[name](made[name])
        return made[name]

    return folder


@pytest.fixture
def taken(published, tmp_path):
    """A copy of a layout that may be spoiled."""

    def copy(name):
        shutil.copytree(published(name), tmp_path / name)
        return tmp_path / name

    return copy


@pytest.fixture(scope="session")
def training_specs():
    """Specs of tiny runs, as ``write_spec`` writes them: name -> spec."""
    recipe = {
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.01,
        "learning_rate_factors": {"weight": 1.5},
        "logit_penalty": 1e-4,
        "schedule": "cosine",
        "warmup": 2,
        "min_learning_rate": 0.0,
        "clip": 1.0,
        "global_batch": 6,
        "context": 16,
        "steps": 24,
        "precision": "auto",
        "eval_every": 8,
        "eval_examples": 16,
    }
    scratch = {"task": None, "prompt": None, "init_from": None, "adapter": None, "recipe": recipe}
    scratch["train_on_dev"] = False
    rwkv = {"kind": "rwkv4", "n_layer": 2, "n_embd": 16, "tie_embeddings": True}
    t5 = {"kind": "t5", "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_decoder_layers": 1}
    t5 |= {"num_heads": 2, "tie_embeddings": True, "dropout_rate": 0.1}
    bert = {"kind": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert |= {"intermediate_size": 32, "max_position_embeddings": 64, "dropout": 0.0}
    masks = {"kind": "masked_lm", "mask_share": 0.15}
    spans = {"kind": "span_corruption", "noise_density": 0.15, "mean_span_length": 3.0}
    lora = {"lora": {"r": 4, "alpha": 4, "dropout": 0.1, "target_modules": "all-linear"}, "peft": None, "merge": True}
    tuned = {"objective": {"kind": "sft"}, "corpora": None, "task": "count", "prompt": "plain", "architecture": None}
    specs = {
        "rwkv": scratch | {"objective": {"kind": "causal_lm"}, "corpora": {"numbers": 1.0}, "architecture": rwkv},
        "t5": scratch | {"objective": spans, "corpora": {"numbers": 1.0}, "architecture": t5},
        "bert": scratch | {"objective": masks, "corpora": {"numbers": 1.0}, "architecture": bert},
        "tuned": scratch | tuned,
        "adapter": scratch | tuned | {"adapter": lora},
    }
    return json.loads(json.dumps(specs))


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
