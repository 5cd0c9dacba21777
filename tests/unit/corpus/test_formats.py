"""Readers of published corpora, on files in their true formats."""

import bz2
import gzip
import json
import lzma
from itertools import groupby

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus_samples import read_all, read_items, write_jsonl
from tsumugi.corpus.storage import streams
from tsumugi.errors import TsumugiError

# --- web corpora ---


def test_cc100(tmp_path):
    path = tmp_path / "ja.txt.xz"
    path.write_bytes(lzma.compress("\n\n一段落目。\n二段落目。\n\n次の文書。\n\n \n最後の文書。".encode()))
    found = read_all("cc100", path)
    assert [document.text for document in found] == ["一段落目。\n二段落目。", "次の文書。", "最後の文書。"]
    assert [document.meta["line"] for document in found] == [3, 6, 9]


def test_cc100_names_the_line_that_is_not_utf8(tmp_path):
    path = tmp_path / "ja.txt"
    path.write_bytes("良い文書。\n\n一行目\n".encode() + b"\xff\n\n" + "次".encode())
    first, bad, last = read_items("cc100", path)
    assert (first.text, last.text) == ("良い文書。", "次")
    assert str(bad).startswith(f"{path}:4: not UTF-8")


def test_mc4_and_oscar(tmp_path):
    rows = [{"text": "本文。\n続き。", "timestamp": "2019-01-01T00:00:00Z", "url": "https://a.example/"}]
    (tmp_path / "c4-ja.json.gz").write_bytes(gzip.compress(write_jsonl(tmp_path / "x", rows).read_bytes()))
    (found,) = read_all("mc4", tmp_path / "c4-ja.json.gz")
    assert found.text == "本文。\n続き。"
    assert found.meta == {"line": 1, "url": "https://a.example/", "timestamp": "2019-01-01T00:00:00Z"}

    headers = {"warc-target-uri": "https://b.example/", "warc-date": "2022-11-01T00:00:00Z", "content-length": "9"}
    quality = {"identification": {"label": "ja", "prob": 0.99}, "harmful_pp": 900.5, "quality_warnings": ["tiny"]}
    rows = [{"content": "別の本文。", "warc_headers": headers, "metadata": {**quality, "sentence_identifications": []}}]
    with pa.OSFile(str(tmp_path / "ja.jsonl.zst"), "wb") as file, pa.CompressedOutputStream(file, "zstd") as stream:
        stream.write(write_jsonl(tmp_path / "y", rows).read_bytes())
    (found,) = read_all("oscar", tmp_path / "ja.jsonl.zst")
    assert (found.text, found.meta["url"], found.meta["quality_warnings"]) == (
        "別の本文。",
        "https://b.example/",
        ["tiny"],
    )
    assert found.meta["identification"] == {"label": "ja", "prob": 0.99} and found.meta["categories"] is None


# --- instructions ---


ASKED = [
    {"instruction": "要約せよ。", "input": "長い文", "output": "短い文"},
    {"instruction": "挨拶せよ。", "input": "", "output": "こんにちは"},
    {"instruction": "数えよ。", "output": "一、二"},
]


@pytest.mark.parametrize("form", ["list", "indented list", "lines"])
def test_instructions(tmp_path, form):
    path = tmp_path / "alpaca.json"
    if form == "lines":
        write_jsonl(path, ASKED)
    else:
        path.write_text(json.dumps(ASKED, ensure_ascii=False, indent=2 if form == "indented list" else None))
    found = read_all("instructions", path)
    assert [(d.title, d.text) for d in found] == [
        ("要約せよ。\n長い文", "短い文"),
        ("挨拶せよ。", "こんにちは"),
        ("数えよ。", "一、二"),
    ]
    assert found[0].meta == {"instruction": "要約せよ。", "input": "長い文"}


def test_a_long_list_of_instructions_comes_in_pieces(tmp_path):
    rows = [{"instruction": f"問{number}", "input": "", "output": "答" * (number % 977)} for number in range(5000)]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1))
    assert [document.text for document in read_all("instructions", path)] == [row["output"] for row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"instruction": "a", "output": "b"}', "the list does not end"),
        ('[{"instruction": "a", "output": }]', "record 1: malformed JSON"),
        ('[{"instruction": "a", "output": "b"} 3]', "malformed JSON: '3' where ',' is wanted"),
        ('[{"instruction": "a"}]', r"alpaca.json:1: no field 'output'"),
        ('[{"instruction": "a", "output": 3}]', r"alpaca.json:1: the field 'output' holds int"),
        ("[7]", r"alpaca.json:1: not a JSON object"),
    ],
)
def test_malformed_instructions_are_named(tmp_path, content, message):
    (tmp_path / "alpaca.json").write_text(content)
    with pytest.raises(TsumugiError, match=message):
        read_all("instructions", tmp_path / "alpaca.json")


def instructions(*numbers):
    return json.dumps([{"instruction": f"問{number}", "output": f"答{number}"} for number in numbers])


PACK = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("pack", PACK)
@pytest.mark.parametrize("between", ["", "\n", " \r\n\t", "\n\ufeff", " " * 100_000])
def test_lists_one_behind_the_other_are_read_to_the_end(tmp_path, pack, between):
    path = tmp_path / "alpaca.json"
    path.write_bytes(PACK[pack]((instructions(1, 2) + between + instructions(3) + between + "[]" + between).encode()))
    assert [document.text for document in read_all("instructions", path)] == ["答1", "答2", "答3"]


@pytest.mark.parametrize(
    "behind", ["x", "]", ",", "[", "{", '{"instruction": "a", "output": "b"}', "\0", "[1", "null", ', [{"a": 1}]']
)
def test_what_stands_behind_a_list_of_instructions_is_looked_at(tmp_path, behind):
    path = tmp_path / "alpaca.json"
    path.write_text(instructions(1) + "\n" * 3 + behind)
    with pytest.raises(TsumugiError, match=r"alpaca\.json.*malformed JSON"):
        read_all("instructions", path)
    path.write_bytes(gzip.compress(instructions(1).encode()) + b"garbage")
    with pytest.raises(TsumugiError, match=r"alpaca\.json: damaged"):
        read_all("instructions", path)


@pytest.mark.parametrize("pack", ["gz", "bz2", "xz"])
def test_damage_behind_a_list_of_instructions_is_noticed(tmp_path, pack):
    path = tmp_path / "alpaca.json"
    whole = PACK[pack](instructions(*range(100)).encode())
    for data in (whole[:-1], whole[:-8], whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]):
        path.write_bytes(data)
        with pytest.raises(TsumugiError, match=r"alpaca\.json: damaged"):
            read_all("instructions", path)


@pytest.mark.parametrize("blank", [" " * 65, "\n" * 5_000, "\ufeff" + " " * 65, "\t\r\n" * 100_000])
@pytest.mark.parametrize("form", ["list", "lines"])
def test_a_list_is_known_behind_any_white_space(tmp_path, blank, form):
    path = tmp_path / "alpaca.json"
    path.write_text(blank + (instructions(1, 2) if form == "list" else "\n".join(map(json.dumps, ASKED))))
    assert len(read_all("instructions", path)) == (2 if form == "list" else 3)


def test_a_byte_order_mark_within_a_text_stays(tmp_path, monkeypatch):
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps([{"instruction": "a", "output": "\ufeff" * 9}], ensure_ascii=False))
    monkeypatch.setattr(streams.RawStream.read, "__defaults__", (5,))
    assert read_all("instructions", path)[0].text == "\ufeff" * 9


@given(
    lines=st.lists(st.sampled_from(["", " ", "\t\r", "鳥が飛ぶ", "波が寄せる。", "a", " b "]), max_size=40),
    block=st.integers(1, 40),
    end=st.sampled_from(["", "\n", "\n\n", "\n \n"]),
)
def test_cc100_is_cut_at_blank_lines_wherever_the_blocks_end(tmp_path_factory, lines, block, end):
    path = tmp_path_factory.getbasetemp() / "blocks.txt"
    path.write_bytes(("\n".join(lines) + end).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams.RawStream.read, "__defaults__", (block,))
        found = read_all("cc100", path)
    expected, number = [], 0
    for blank, group in groupby((*lines, ""), key=lambda line: not line.strip()):  # the definition
        members = list(group)
        if not blank:
            expected.append(("\n".join(members), number + 1))
        number += len(members)
    assert [(document.text, document.meta["line"]) for document in found] == expected
