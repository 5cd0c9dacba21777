"""From clean shards to a tokenizer, token files and pairs, by the command lines that the workflow calls."""

import json
import os
import random
import runpy
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from tokenization_corpus import documents, split_of, write_corpus
from tsumugi.corpus.storage.corpus_reader import SPLITS
from tsumugi.corpus.storage.parquet import write_table
from tsumugi.errors import TsumugiError
from tsumugi.generation.evaluation_pairs import read_field, read_test_pairs
from tsumugi.provenance import identity, read_manifest, verify
from tsumugi.tokenization.encode_pairs import PairSpec, encode_pairs
from tsumugi.tokenization.encoding import encode_documents, line_end_id, lines_of
from tsumugi.tokenization.indexed_dataset import IndexedDataset
from tsumugi.tokenization.line_sampling import MAX_CHARACTERS, pieces_of, sample_lines
from tsumugi.tokenization.loading import load_tokenizer
from tsumugi.tokenization.measure_tokenizer import measure
from tsumugi.tokenization.prompts import PromptEncoder, encode_text
from tsumugi.tokenization.sentencepiece_export import save, to_transformers
from tsumugi.tokenization.text_ids import encode_texts
from tsumugi.tokenization.train_tokenizer import train_sentencepiece

SCRIPTS = Path(__file__).parents[3] / "scripts"
ROWS = documents(120)
TOKENIZER = {"kind": "bpe", "vocab_size": 520, "corpora": {"made-up": 1.0}, "character_coverage": 1.0}
SPEC = {"tokenizer": TOKENIZER | {"max_sentences": 800, "seed": 0}, "num_shards": {"made-up": 2}}
PAIRS = {"input": "title", "output": "text", "template": "題: {input}\n文: ", "max_input_tokens": 3}
PAIRS |= {"max_output_tokens": 100}


def run_script(monkeypatch: pytest.MonkeyPatch, name: str, **arguments) -> None:
    """Run a command line in this process: importing Transformers anew takes longer than the work."""
    flags = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
    monkeypatch.setattr(sys, "argv", [name, *flags])
    runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder in which the whole stage has run on shard 00001."""
    folder = tmp_path_factory.mktemp("work")
    tokenizer = "results/tokenizers/tiny"
    tokens, pairs = "results/tokens/made-up/tiny/00001.json", "results/pairs/t/p/tiny/manifest.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_corpus(Path("results/corpora"), ROWS)
        Path("train.json").write_text(json.dumps(SPEC))
        Path("pairs.json").write_text(json.dumps({"corpus": "made-up", "num_shards": 2} | PAIRS))
        run_script(patch, "train_tokenizer", spec="train.json", output=f"{tokenizer}/manifest.json")
        run_script(patch, "encode_shard", corpus="made-up", shard="00001", tokenizer=tokenizer, output=tokens)
        run_script(patch, "encode_pairs", spec="pairs.json", tokenizer=tokenizer, output=pairs)
        fertility = f"{tokenizer}/fertility.json"
        run_script(patch, "measure_tokenizer", spec="train.json", tokenizer=tokenizer, output=fertility)
        Path("import.json").write_text(json.dumps({"source": f"./{tokenizer}"}))
        copied = "results/tokenizers/from-tiny/manifest.json"
        run_script(patch, "import_tokenizer", spec="import.json", output=copied)
    return folder


@pytest.fixture
def tokenizer(folder):
    return load_tokenizer(str(folder / "results/tokenizers/tiny"))


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_documents_encoded_whole_are_as_if_line_by_line(kind):
    lines = [line for row in ROWS for line in row["text"].split("\n")]
    tokenizer = to_transformers(train_sentencepiece(lines, kind=kind, vocab_size=520, character_coverage=1.0), kind)
    assert line_end_id(tokenizer) == tokenizer.convert_tokens_to_ids("<0x0A>")
    chance = random.Random(0)
    parts = ["\n", "\n\n", " ", "𠮷", "\r", "<0x0A>", "</s>", "▁", "鳥", *lines[:9]]
    texts = ["", "\n", *("".join(chance.choices(parts, k=chance.randrange(1, 12))) for _ in range(300))]
    for (number, text, sequences), expected in zip(encode_documents(tokenizer, enumerate(texts)), texts, strict=True):
        assert text == expected == texts[number]
        by_line = encode_texts(tokenizer, lines_of(text)) or [[]]
        assert sequences == [*by_line[:-1], [*by_line[-1], tokenizer.eos_token_id]]


def test_other_tokenizers_get_their_lines_one_by_one():
    backend = Tokenizer(WordLevel({"鳥": 0, "[UNK]": 1}, unk_token="[UNK]"))
    assert line_end_id(PreTrainedTokenizerFast(tokenizer_object=backend)) is None


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpora", ROWS)


def test_token_files_hold_train_and_dev_and_no_test_document(folder, tokenizer):
    texts = {split: [row["text"] for row in ROWS if split_of(row["id"]) == split] for split in SPLITS}
    manifest = read_manifest(folder / "results/tokens/made-up/tiny/00001.json")
    shard = pq.read_table(folder / "results/corpora/made-up/clean/00001.parquet").to_pylist()
    for split in ("train", "dev"):
        data = IndexedDataset(folder / f"results/tokens/made-up/tiny/{split}/00001")
        found = [
            tokenizer.decode(data.tokens[data.pointers[a] // 2 :][: data.sizes[a:b].sum()])
            for a, b in zip(data.doc_idx[:-1], data.doc_idx[1:], strict=True)
        ]
        expected = [row["text"] for row in shard if split_of(row["id"]) == split]
        assert found == [f"{text}</s>" for text in expected] and expected
        assert manifest["results"][split] == {
            "documents": len(expected),
            "tokens": len(data.tokens),
            "bytes": sum(len(text.encode()) for text in expected),
            "characters": sum(map(len, expected)),
            "unknown": 0,
        }
        assert not set(expected) & set(texts["test"])
    assert not (folder / "results/tokens/made-up/tiny/test").exists()


def test_pairs_follow_the_contract(folder, tokenizer):
    shards = [pq.read_table(folder / f"results/corpora/made-up/clean/0000{i}.parquet").to_pylist() for i in range(2)]
    rows = [row for shard in shards for row in shard]
    results = read_manifest(folder / "results/pairs/t/p/tiny/manifest.json")["results"]
    for split in SPLITS:
        prefix = folder / f"results/pairs/t/p/tiny/{split}"
        expected = [row for row in rows if split_of(row["id"]) == split]
        keys = ("id", "title", "category")
        assert pq.read_table(f"{prefix}.parquet").to_pylist() == [{key: row[key] for key in keys} for row in expected]
        data = IndexedDataset(prefix)
        cut = 0
        prompts = PromptEncoder(tokenizer, PAIRS["template"], PAIRS["max_input_tokens"])
        for i, row in enumerate(expected):
            assert data[2 * i].tolist() == prompts.encode(row["title"])
            ids = encode_text(tokenizer, row["text"])
            cut += len(ids) > 100
            assert data[2 * i + 1].tolist() == (ids[:100] if len(ids) > 100 else [*ids, tokenizer.eos_token_id])
        assert data.doc_idx[:].tolist() == list(range(0, 2 * len(expected) + 1, 2))
        assert results[split]["truncated"] == cut and results[split]["pairs"] == len(expected) > 0
        assert results[split]["truncated_share"] == cut / len(expected)
    assert 0 < sum(results[split]["truncated"] for split in SPLITS) < len(rows)


def test_provenance_holds(folder, monkeypatch):
    monkeypatch.chdir(folder)
    made = "results/tokenizers/tiny"
    for manifest in ("results/tokens/made-up/tiny/00001.json", "results/pairs/t/p/tiny/manifest.json"):
        visited, problems, *_ = verify(manifest)
        assert problems == [] and f"{made}/manifest.json" in visited
    assert (
        verify(f"{made}/fertility.json").problems == verify("results/tokenizers/from-tiny/manifest.json").problems == []
    )


def test_imported_tokenizer_is_the_same(folder, tokenizer):
    imported = load_tokenizer(str(folder / "results/tokenizers/from-tiny"))
    for row in ROWS[:20]:
        assert encode_text(imported, row["text"]) == encode_text(tokenizer, row["text"])


def test_an_imported_model_is_known_by_all_its_files(folder, tokenizer, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tokenizer.save_pretrained("my-model")
    Path("my-model/model.safetensors").write_bytes(b"weights")
    Path("import.json").write_text(json.dumps({"source": "./my-model"}))

    def imported():
        run_script(monkeypatch, "import_tokenizer", spec="import.json", output="from-x/manifest.json")
        return read_manifest("from-x/manifest.json")

    first, again = imported(), imported()
    assert identity(first) == identity(again)
    assert {"my-model/model.safetensors", "my-model/tokenizer.json"} < set(first["outputs"])
    assert not Path("from-x/model.safetensors").exists()
    Path("my-model/model.safetensors").write_bytes(b"others")
    assert identity(imported()) != identity(first)


def test_files_of_an_earlier_tokenizer_go_when_another_is_imported(tokenizer, tmp_path):
    for name in ("vocab.txt", "added_tokens.json", "spiece.model", "manifest.json", "fertility.json", "notes.md"):
        (tmp_path / name).write_text("old")
    written = save(tokenizer, tmp_path)
    kept = {"manifest.json", "fertility.json", "notes.md"}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written} | kept


@pytest.mark.parametrize("named", [False, True])
def test_the_commit_of_a_hub_name_is_recorded(tokenizer, tmp_path, named):
    """From a cache laid out as huggingface_hub does it, without a network."""
    newest, older = "0123456789abcdef0123456789abcdef01234567", "fedcba9876543210fedcba9876543210fedcba98"
    model = tmp_path / "hub/models--org--name"
    for commit in (newest, older):
        tokenizer.save_pretrained(model / "snapshots" / commit)
        (model / "snapshots" / commit / "config.json").write_text('{"model_type": "t5"}')
    (model / "refs").mkdir()
    (model / "refs/main").write_text(newest)
    source, commit = (f"hub:org/name@{older}", older) if named else ("hub:org/name", newest)
    (tmp_path / "spec.json").write_text(json.dumps({"source": source}))
    subprocess.run(
        [sys.executable, SCRIPTS / "import_tokenizer.py", "--spec", "spec.json", "--output", "from-x/manifest.json"],
        cwd=tmp_path,
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert read_manifest(tmp_path / "from-x/manifest.json")["spec"] == {"source": source, "commit": commit}


@pytest.mark.parametrize(("content", "message"), [("{}", "the key 'source' is missing"), ("{", "not JSON")])
def test_a_bad_spec_is_one_line(tmp_path, monkeypatch, capsys, content, message):
    monkeypatch.chdir(tmp_path)
    Path("spec.json").write_text(content)
    with pytest.raises(SystemExit, match="1"):
        run_script(monkeypatch, "import_tokenizer", spec="spec.json", output="x/manifest.json")
    assert f"error: spec.json: {message}" in capsys.readouterr().err


def test_every_command_reads_its_spec_by_the_one_reader():
    for path in SCRIPTS.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        reads = ("read_spec(arguments.spec", "read_training_spec(arguments.spec")  # the second reads by the first
        assert '"--spec"' not in text or any(call in text for call in reads), path.name
    assert "read_spec(path" in (SCRIPTS.parent / "src/tsumugi/training/train_spec.py").read_text(encoding="utf-8")


def test_an_error_of_the_user_is_one_line_and_leaves_no_output(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match="1"):
        run_script(
            monkeypatch, "encode_shard", corpus="made-up", shard="00000", tokenizer="absent", output="x/00000.json"
        )
    assert capsys.readouterr().err.startswith("error: tokenizer absent: there is no such directory")
    assert not Path("x").exists()


def test_fertility_counts(tokenizer, tmp_path):
    texts = [f"{row['text']}\n𠮷" for row in ROWS if split_of(row["id"]) == "test"]  # 4 bytes without a piece
    rows = [row | {"text": f"{row['text']}\n𠮷"} for row in ROWS]
    figures = measure(write_corpus(tmp_path, rows), tokenizer)
    tokens = sum(len(encode_text(tokenizer, text)) for text in texts)
    assert (figures["documents"], figures["tokens"]) == (len(texts), tokens)
    assert figures["tokens_per_character"] == tokens / sum(map(len, texts))
    assert figures["tokens_per_byte"] == tokens / sum(len(text.encode()) for text in texts)
    assert figures["unknown_share"] == 0
    assert figures["byte_share"] == 4 * len(texts) / tokens  # line ends are not counted


def test_sample_comes_from_train_alone_whatever_the_shards(tmp_path):
    train = {line for row in ROWS if split_of(row["id"]) == "train" for line in row["text"].split("\n")}
    samples = [
        sample_lines([write_corpus(tmp_path / str(shards), ROWS, num_shards=shards)], {"made-up": 1.0}, limit, 0)
        for shards in (1, 2, 5)
        for limit in (100, 10_000)
    ]
    assert samples[0] == samples[2] == samples[4] and len(samples[0]) == 100
    assert samples[1] == samples[3] == samples[5] and samples[1][:100] == samples[0]
    assert set(samples[1]) == {line for line in train if line.strip()}


def test_test_documents_never_reach_the_sample(tmp_path):
    marked = [row | {"text": f"{split_of(row['id'])}\n{row['text']}"} for row in ROWS]
    sample = sample_lines([write_corpus(tmp_path, marked)], {"made-up": 1.0}, 10_000, 0)
    assert "train" in sample and "test" not in sample and "dev" not in sample


def test_weights_are_densities(tmp_path):
    corpora = [write_corpus(tmp_path, documents(200, seed), name) for seed, name in enumerate(("a", "b"))]
    whole = {corpus.name: len(sample_lines([corpus], {corpus.name: 1.0}, 10**6, 0)) for corpus in corpora}
    both = len(sample_lines(corpora, {"a": 2.0, "b": 1.0}, 10**6, 0))
    assert both == pytest.approx(whole["a"] + whole["b"] / 2, rel=0.05)
    assert both == len(sample_lines(corpora, {"a": 0.2, "b": 0.1}, 10**6, 0))
    assert sample_lines(corpora, {"a": 1.0, "b": 1.0}, 50, 0) != sample_lines(corpora, {"a": 1.0, "b": 1.0}, 50, 1)


def test_long_lines_are_cut():
    assert list(pieces_of(["あ" * (MAX_CHARACTERS + 1), "い"])) == ["あ" * MAX_CHARACTERS, "あ", "い"]


@pytest.mark.parametrize(
    ("column", "value", "advice"),
    [("title", None, "filter: title"), ("text", " \n", "filter: length"), ("category", "", r"columns\.category")],
)
def test_empty_input_or_output_names_the_document(tmp_path, tokenizer, column, value, advice):
    rows = [*ROWS[:5], ROWS[5] | {column: value}]
    corpus = write_corpus(tmp_path / "corpora", rows)
    with pytest.raises(TsumugiError, match=f"document {rows[5]['id']} has no {column}, .*{advice}"):
        encode_pairs(
            corpus, PairSpec(**PAIRS | ({} if column == "text" else {"input": column})), tokenizer, tmp_path / "out"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_documents_outside_the_split_and_broken_shards(corpus):
    def refused(message):
        with pytest.raises(TsumugiError, match=message):
            list(corpus.batches("00000", ["id"]))

    table = pq.read_table(corpus.split_path("train"))
    pq.write_table(table.slice(0, 0), corpus.split_path("train"))
    refused("is in no split; run split_corpus again")
    pq.write_table(table, corpus.split_path("train"))
    pq.write_table(table, corpus.split_path("test"))
    refused("is in both train and test")
    corpus.shard_path("00000").write_bytes(b"PAR1 and then nothing")
    refused(r"00000\.parquet: not a readable Parquet file")


def test_a_flipped_byte_is_found_wherever_parquet_is_read(tmp_path, tokenizer):
    corpus = write_corpus(tmp_path / "corpora", ROWS)
    encode_pairs(corpus, PairSpec(**PAIRS), tokenizer, tmp_path / "pairs")
    for path in (corpus.shard_path("00000"), corpus.split_path("train")):
        write_table(path, pq.read_table(path))
    readers = {
        corpus.shard_path("00000"): lambda: read_field([corpus.shard_path("00000")], [], "text"),
        corpus.split_path("train"): lambda: list(corpus.batches("00000", ["id"])),
        tmp_path / "pairs/test.parquet": lambda: read_test_pairs(tmp_path / "pairs"),
    }
    for path, read in readers.items():
        read()
        whole = path.read_bytes()
        chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
        end = chunk.data_page_offset + chunk.total_compressed_size - (chunk.data_page_offset - 4)
        position = end - 4  # inside the last page of the first column
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(TsumugiError, match=f"{path.name}: not a readable Parquet file"):
            read()
        path.write_bytes(whole)
