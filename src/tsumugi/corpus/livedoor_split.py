"""The split of livedoor news that the thesis uses: the articles in a fixed order, shuffled with a fixed seed, cut.

The order is that of the labels, then that of the archive; ``random.seed(1234)``, ``random.shuffle``, then nine tenths
for training, half of the rest each for dev and test. An article more or less moves all of them: for this corpus only.
"""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from tsumugi.corpus.readers.livedoor import CATEGORIES
from tsumugi.corpus.storage.parquet import read_rows
from tsumugi.errors import TsumugiError

SEED = 1234


def thesis_sides(tables: Sequence[Path]) -> Iterator[tuple[str, str, str]]:
    """(id, split, shard) of every document.

    Args:
        tables: the clean shards; ``meta`` of a row holds the article's number in the archive.

    Raises:
        TsumugiError: a document is no article of livedoor news.
    """
    order = []
    for table in tables:
        for row in read_rows(table, ["id", "category", "meta"]):
            number = json.loads(row["meta"]).get("number")
            if row["category"] not in CATEGORIES or number is None:
                raise TsumugiError(
                    f"{table}: {row['id']} is no article of the reader livedoor; use split.method: hashed"
                )
            order.append((CATEGORIES.index(row["category"]), number, row["id"], table.stem))
    articles = [article[2:] for article in sorted(order)]
    random.Random(SEED).shuffle(articles)
    for index, (identifier, shard) in enumerate(articles):
        side = "train" if 10 * index < 9 * len(articles) else "dev" if 20 * index < 19 * len(articles) else "test"
        yield identifier, side, shard
