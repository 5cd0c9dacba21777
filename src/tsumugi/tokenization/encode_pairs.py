"""Turns a corpus into the supervised pairs of a task: prompt ids and output ids, cut to the task's limits."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from tsumugi.atomic import atomic_path
from tsumugi.corpus.storage.corpus_reader import CleanCorpus
from tsumugi.corpus.storage.parquet import FORMAT
from tsumugi.errors import TsumugiError
from tsumugi.layout import SPLITS
from tsumugi.tokenization.indexed_dataset import IndexedDatasetWriter
from tsumugi.tokenization.prompts import PromptEncoder, encode_text

ADVICE = {
    "title": "filter such documents out of the corpus (filter: title)",
    "text": "filter such documents out of the corpus (filter: length, min_characters)",
    "category": "give every document one in the raw files (columns.category), or give the task another input or output",
}
_SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("category", pa.string())])


@dataclass(frozen=True)
class PairSpec:
    """What a pair is made of.

    Attributes:
        input: column that is read.
        output: column that is written.
        template: the words around the input, with ``{input}`` in its place.
        max_input_tokens: limit of the input; what reaches beyond it is cut before the template is filled.
        max_output_tokens: limit of the output; an output that reaches beyond it is cut and gets no end token.
    """

    input: str
    output: str
    template: str
    max_input_tokens: int
    max_output_tokens: int


@dataclass
class _PairFiles:
    """The files of one split: token files, and a row with id, title and category for each pair."""

    tokens: IndexedDatasetWriter
    rows: pq.ParquetWriter
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("pairs", "prompt_tokens", "output_tokens", "truncated"), 0)
    )

    def add(self, prompt: list[int], output: list[int], truncated: bool) -> None:
        self.tokens.add_document([prompt, output])
        self.counts["pairs"] += 1
        self.counts["prompt_tokens"] += len(prompt)
        self.counts["output_tokens"] += len(output)
        self.counts["truncated"] += truncated


def encode_pairs(
    corpus: CleanCorpus, spec: PairSpec, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> dict[str, dict[str, Any]]:
    """Write ``folder/{split}.bin``, ``.idx`` and ``.parquet`` of every split, in the order of shard and row.

    A document of the token files is a pair, its two sequences are the ids of the prompt and of the output.

    Returns:
        For each split: pairs, prompt_tokens, output_tokens, truncated (outputs that were cut) and truncated_share.

    Raises:
        TsumugiError: a document has no input or no output, the limit leaves nothing of its input, or a file of the
            corpus is missing or broken.
    """
    prompts = PromptEncoder(tokenizer, spec.template, spec.max_input_tokens)
    columns = list(dict.fromkeys(("id", "title", "category", spec.input, spec.output)))
    with ExitStack() as stack:
        files = {split: _open_files(stack, folder / split, len(tokenizer)) for split in SPLITS}
        for shard in corpus.shards():
            for rows, splits in corpus.batches(shard, columns):
                for row, split in zip(rows.to_pylist(), splits.tolist(), strict=True):
                    files[SPLITS[split]].add(*_encode_pair(row, spec, prompts, corpus.shard_path(shard)))
                for index, split in enumerate(SPLITS):
                    chosen = rows.select(_SCHEMA.names).filter(pa.array(splits == index))
                    files[split].rows.write_batch(chosen.cast(_SCHEMA))
    return {split: _with_share(files[split].counts) for split in SPLITS}


def _open_files(stack: ExitStack, prefix: Path, vocab_size: int) -> _PairFiles:
    table = stack.enter_context(atomic_path(prefix.with_name(f"{prefix.name}.parquet")))
    return _PairFiles(
        tokens=stack.enter_context(IndexedDatasetWriter(prefix, vocab_size)),
        rows=stack.enter_context(pq.ParquetWriter(table, _SCHEMA, **FORMAT)),
    )


def _encode_pair(
    row: dict[str, Any], spec: PairSpec, prompts: PromptEncoder, path: Path
) -> tuple[list[int], list[int], bool]:
    for column in (spec.input, spec.output):
        if not (row[column] or "").strip():
            raise TsumugiError(f"{path}: document {row['id']} has no {column}, which the task needs; {ADVICE[column]}")
    try:
        prompt = prompts.encode(row[spec.input])
    except TsumugiError as error:
        raise TsumugiError(f"{path}: document {row['id']}: {spec.input}: {error}") from None
    ids = encode_text(prompts.tokenizer, row[spec.output])
    if len(ids) > spec.max_output_tokens:
        return prompt, ids[: spec.max_output_tokens], True
    return prompt, [*ids, prompts.tokenizer.eos_token_id], False


def _with_share(counts: dict[str, int]) -> dict[str, Any]:
    return counts | {"truncated_share": counts["truncated"] / counts["pairs"] if counts["pairs"] else None}
