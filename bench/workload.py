"""What the training benchmarks compute: a small GPT-2 without dropout on random tokens in files of Tsumugi's format."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tsumugi.provenance import write_manifest
from tsumugi.provenance.memory import MemoryMeter
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter, token_path
from tsumugi.training.distributed.world import World
from tsumugi.training.loop import Trainer
from tsumugi.training.model_source import set_up_for_training
from tsumugi.training.objectives import build_objective
from tsumugi.training.planning.placement import Placement
from tsumugi.training.planning.planner import Plan

VOCABULARY = 512
DOCUMENTS, DOCUMENT_LENGTH = 2000, 512
SEED = 1

logging.getLogger("transformers").setLevel(logging.ERROR)  # it does not like ids beyond so small a vocabulary


@dataclass(frozen=True)
class Workload:
    """Sizes of the model and of a step; all but ``context``, in tokens, are numbers of things."""

    width: int
    layers: int
    heads: int
    context: int
    global_batch: int
    micro_batch: int

    def recipe(self, steps: int, precision: str = "fp32") -> dict[str, Any]:
        """A run's recipe. The dev split is looked at before the first step and after the last one alone."""
        return {
            "optimizer": "adamw",
            "learning_rate": 1e-3,
            "betas": [0.9, 0.999],
            "eps": 1e-8,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 10,
            "min_learning_rate": 0.0,
            "clip": 1.0,
            "global_batch": self.global_batch,
            "context": self.context,
            "steps": steps,
            "precision": precision,
            "eval_every": steps,
            "eval_examples": 1,
        }

    def model(self) -> GPT2LMHeadModel:
        """Fresh weights, the same at every call."""
        torch.manual_seed(SEED)
        config = GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=self.context,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own, as one kernel
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=1,
            eos_token_id=2,
        )
        model = GPT2LMHeadModel(config)
        set_up_for_training(model, gradient_checkpointing=False)
        return model

    def trainer(
        self, world: World, model: torch.nn.Module, data: Path, recipe: Mapping[str, Any], plan: Plan, state: Path
    ) -> Trainer:
        """A trainer as a job builds it, which never saves before the end.

        Args:
            data: the manifest that :func:`write_tokens` returned.
        """
        state.mkdir(parents=True)
        spec = {"objective": {"kind": "causal_lm"}, "corpora": {"random": 1.0}, "recipe": recipe, "train_on_dev": False}
        return Trainer.resume(
            world,
            model,
            build_objective(spec, [data], _tokenizer(), model.config, SEED),
            recipe,
            seed=SEED,
            placement=Placement([recipe["precision"]] * world.size, stage=0, offload=False),
            plan=plan,
            state=state,
            checkpoint_seconds=float("inf"),
            memory=MemoryMeter(),
        )


def write_tokens(folder: Path) -> Path:
    """A corpus of a million random tokens for training, and one document for the dev split; returns its manifest."""
    tokens = folder / "tokens/random/numbers"
    random = np.random.default_rng(SEED)
    counts = {}
    for split, documents in (("train", DOCUMENTS), ("dev", 1)):
        (tokens / split).mkdir(parents=True)
        with IndexedDatasetWriter(tokens / split / "00000", VOCABULARY) as writer:
            for _ in range(documents):
                writer.add_document([random.integers(0, VOCABULARY, DOCUMENT_LENGTH)])
        total = documents * DOCUMENT_LENGTH
        counts[split] = {"documents": documents, "tokens": total, "bytes": total, "characters": total}
    write_manifest(tokens / "00000.json", kind="encode_shard", spec={}, results=counts)
    return tokens / "00000.json"


def _tokenizer() -> PreTrainedTokenizerFast:
    """Knows as many ids as the data has; nothing is tokenized."""
    vocabulary = {"<pad>": 0} | {f"w{number}": number for number in range(1, VOCABULARY)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>")


def read_tokens(data: Path) -> np.ndarray:
    """All tokens for training, in memory: (N,) uint16."""
    return np.fromfile(token_path(data.parent / "train/00000"), np.uint16)
