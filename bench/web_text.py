"""Japanese pages as CC-100 holds them, in any amount: made from words that are as common and as rare as real ones."""

import lzma
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

SEED = 11
NOUNS, VERBS = 40_000, 4_000
CHUNKS = 4  # of a sentence: three nouns with what follows them, and a verb
HIRAGANA = [chr(code) for code in range(0x3042, 0x3094)]
KATAKANA = [chr(code) for code in range(0x30A2, 0x30F4)]
KANJI = [chr(code) for code in range(0x4E00, 0x4E00 + 2500)]
PARTICLES = ["は", "が", "の", "を", "に", "で", "と", "も、", "から", "まで"]
ENDINGS = ["る。", "った。", "ます。", "ない。", "ている。", "る。\n", "ました。\n", "だ。\n"]
UNKEMPT = ["ＰＣ", "２０２４年", "ﾃﾞｰﾀ", "〜", "（笑）", "ＷＥＢ ", "!", "……", "ABC 順"]
ENGLISH = ["the", "page", "of", "data", "was", "not", "found", "here", "and", "there"]
AT_ONCE = 200  # pages whose words are drawn together
RECENT = 400  # pages of which copies are made
# Shares of the pages that are not simply a new article.
COPIES, NEAR_COPIES, SHORT, FOREIGN, FULL_OF_LINKS = 0.04, 0.04, 0.03, 0.02, 0.02


class Words:
    """Draws sentences; a few words are met often and most of them rarely (Zipf's law)."""

    def __init__(self, seed: int = SEED) -> None:
        """The same words for every seed, in another order of sentences."""
        fixed = random.Random(SEED)
        letters = [KANJI] * 6 + [KATAKANA] * 2 + [HIRAGANA]
        nouns = [
            "".join(fixed.choices(fixed.choice(letters), k=fixed.randint(1, 3))) + fixed.choice(PARTICLES)
            for _ in range(NOUNS)
        ]
        for place in fixed.sample(range(20, NOUNS), NOUNS // 50):
            nouns[place] = fixed.choice(UNKEMPT) + nouns[place]
        verbs = [fixed.choice(KANJI) + fixed.choice(ENDINGS) for _ in range(VERBS)]
        self._vocabularies = [np.array(nouns, object)] * (CHUNKS - 1) + [np.array(verbs, object)]
        self._sums = [np.cumsum(1 / (5 + np.arange(len(each)))) for each in self._vocabularies]
        self.draw = np.random.default_rng([SEED, seed])

    def sentences(self, number: int) -> np.ndarray:
        """(number, CHUNKS) object: the pieces of so many sentences."""
        found = np.empty((number, CHUNKS), object)
        for chunk, (words, sums) in enumerate(zip(self._vocabularies, self._sums, strict=True)):
            found[:, chunk] = words[np.searchsorted(sums, self.draw.random(number) * sums[-1])]
        return found


def articles(seed: int = SEED) -> Iterator[str]:
    """Texts without end, of some 1,000 characters on the average, the longest ten times as long."""
    words = Words(seed)
    while True:
        lengths = np.clip(words.draw.lognormal(4.0, 0.7, AT_ONCE), 8, 600).astype(int)
        pieces = words.sentences(int(lengths.sum()))
        start = 0
        for length in lengths.tolist():
            yield "".join(pieces[start : start + length].ravel().tolist()).rstrip("\n")
            start += length


def pages(seed: int = SEED) -> Iterator[str]:
    """The same, and between them what a corpus stage has to find: copies, near copies, and pages of no use.

    A copy has another space at its end, so that only the normalizer makes it the same.
    """
    draw = np.random.default_rng([seed, SEED])
    recent: list[str] = [""] * RECENT
    kinds = np.cumsum([COPIES, NEAR_COPIES, SHORT, FOREIGN, FULL_OF_LINKS])
    for number, article in enumerate(articles(seed)):
        kind = int(np.searchsorted(kinds, draw.random(), "right"))
        earlier = recent[int(draw.integers(RECENT))] or article
        recent[number % RECENT] = article
        if kind == 0:
            yield f"{earlier}\u3000"
        elif kind == 1:
            cut = int(draw.integers(len(earlier) - 4))
            yield f"{earlier[:cut]}追記：{number}。{earlier[cut + 4 :]}"
        elif kind == 2:
            yield f"{article[:20]}{number}"
        elif kind == 3:
            yield " ".join([*draw.choice(ENGLISH, 150), str(number)])
        elif kind == 4:
            yield "\n".join(f"{article[line : line + 4]} https://example.org/{number}/{line}" for line in range(30))
        else:
            yield article


def write_pages(path: Path, megabytes: float, seed: int = SEED) -> int:
    """Write so much of it as CC-100 has it, a blank line between pages; xz by the name. Returns the bytes of text."""
    written, source = 0, pages(seed)
    with lzma.open(path, "wb", preset=6) if path.suffix == ".xz" else path.open("wb") as file:
        while written < megabytes * 1e6:
            block = "".join(f"{page}\n\n" for page in islice(source, AT_ONCE)).encode()
            written += file.write(block)
    return written
