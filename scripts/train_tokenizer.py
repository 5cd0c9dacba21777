#!/usr/bin/env python
"""Train a SentencePiece tokenizer on the train splits of its corpora.

Writes into the folder of --output: the files that AutoTokenizer.from_pretrained opens, sentencepiece.model, and last
the manifest. Run it in the working folder. Example:

    python scripts/train_tokenizer.py --spec results/specs/train_tokenizer/ja-8k.json \
        --output results/tokenizers/ja-8k/manifest.json

The specification holds "tokenizer", a section of the configuration's tokenizers, and "num_shards" of each corpus.
"""

import argparse
import time
from pathlib import Path

from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.errors import run_cli
from tsumugi.provenance import write_manifest
from tsumugi.schema.spec_file import read_spec
from tsumugi.tokenization.line_sampling import sample_lines
from tsumugi.tokenization.sentencepiece_export import save, to_transformers
from tsumugi.tokenization.train_tokenizer import TRAINING_THREADS, train_sentencepiece


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, required=True, help="JSON specification")
    parser.add_argument("--output", type=Path, required=True, help="manifest to write, in the tokenizer's folder")
    arguments = parser.parse_args()
    started = time.time()

    spec = read_spec(arguments.spec, "tokenizer", "num_shards")
    wanted = spec["tokenizer"]
    corpora = [CleanCorpus(name, spec["num_shards"][name]) for name in wanted["corpora"]]

    lines = sample_lines(corpora, wanted["corpora"], wanted["max_sentences"], wanted["seed"])
    print(f"{len(lines):,} lines of {len(corpora)} corpora; training with {TRAINING_THREADS} threads", flush=True)
    model = train_sentencepiece(
        lines,
        kind=wanted["kind"],
        vocab_size=wanted["vocab_size"],
        character_coverage=wanted["character_coverage"],
        key=f"tokenizers.{arguments.output.parent.name}",
    )
    files = save(to_transformers(model, wanted["kind"]), arguments.output.parent, model)
    write_manifest(
        arguments.output,
        kind="train_tokenizer",
        spec=spec,
        inputs=[manifest for corpus in corpora for manifest in corpus.manifests()],
        outputs=files,
        results={"lines": len(lines), "characters": sum(map(len, lines)), "vocab_size": wanted["vocab_size"]},
        execution={"threads": TRAINING_THREADS},
        started=started,
    )
    print(f"wrote {len(files)} files into {arguments.output.parent} in {time.time() - started:.1f} s")


if __name__ == "__main__":
    run_cli(main)
