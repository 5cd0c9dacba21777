"""A small cleaned corpus of invented sentences, as the corpus stage would leave it."""

import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugi.corpus.storage.corpus_reader import SPLITS, CleanCorpus
from tsumugi.provenance import write_manifest

SUBJECTS = ("猫", "犬", "隣の先生", "若い研究者", "エンジン", "小さな店", "夜の町", "カメラ", "図書館の本", "古い機械")
OBJECTS = (
    "青い空",
    "設定ファイル",
    "長い手紙",
    "静かな海",
    "printer",
    "新しいデータ",
    "赤い林檎",
    "ソフトウェア",
    "コード",
)
VERBS = ("を見ている", "を書いた", "を探しに行く", "を読み直す", "を忘れた", "を運んでいる", "を調べる", "を開きます")
ENDS = ("。", "。そして眠る。", "(第3章)。", " -- 完了!", "…?", "\n-----\n", "\n  字下げ\tタブ。")


def sentences(count: int, seed: int = 0) -> list[str]:
    chosen = random.Random(seed)
    return [
        f"{chosen.choice(SUBJECTS)}が{chosen.choice(OBJECTS)}{chosen.choice(VERBS)}{chosen.choice(ENDS)}"
        for _ in range(count)
    ]


def documents(count: int, seed: int = 0) -> list[dict]:
    lines = sentences(count * 8, seed)
    rows = []
    for number in range(count):
        text = "\n".join(lines[number * 8 : number * 8 + 8])
        id_ = hashlib.sha256(f"{seed} {number} {text}".encode()).hexdigest()
        rows.append({"id": id_, "text": text, "title": f"題{number}", "category": f"c{number % 3}"})
    return rows


def split_of(id_: str) -> str:
    return {0: "dev", 1: "test"}.get(int(id_[-4:], 16) % 8, "train")


def write_corpus(root: Path, rows: list[dict], name: str = "made-up", num_shards: int = 2) -> CleanCorpus:
    corpus = CleanCorpus(name, num_shards, root)
    for number, shard in enumerate(corpus.shards()):
        corpus.shard_path(shard).parent.mkdir(parents=True, exist_ok=True)
        mine = [row for row in rows if int(row["id"][:8], 16) % num_shards == number]
        schema = pa.schema([(column, pa.string()) for column in ("id", "text", "title", "category")])
        pq.write_table(pa.Table.from_pylist(mine, schema), corpus.shard_path(shard), row_group_size=7)
        write_manifest(
            corpus.shard_path(shard).with_suffix(".json"),
            kind="clean_shard",
            spec={},
            outputs=[corpus.shard_path(shard)],
        )
    for split in SPLITS:
        corpus.split_path(split).parent.mkdir(parents=True, exist_ok=True)
        write_ids(corpus.split_path(split), [row["id"] for row in rows if split_of(row["id"]) == split], num_shards)
    write_ids(corpus.leaks_path, [], num_shards)
    for name in ("manifest", "leaks"):
        write_manifest(corpus.leaks_path.with_name(f"{name}.json"), kind="made up", spec={})
    return corpus


def write_ids(path: Path, ids: list[str], num_shards: int) -> None:
    shards = [f"{int(id_[:8], 16) % num_shards:05d}" for id_ in ids]
    pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "shard": pa.array(shards, pa.string())}), path)
