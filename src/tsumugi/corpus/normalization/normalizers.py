"""Normalizers: texts in, texts out, each line by line. The line breaks stay."""

import unicodedata
from collections.abc import Callable, Sequence

from tsumugi.corpus.normalization.neologd import neologd_all

Normalizer = Callable[[Sequence[str]], list[str]]


def nfkc(texts: Sequence[str]) -> list[str]:
    """Unicode normalization form KC (Unicode Standard Annex 15), and nothing else."""
    return [unicodedata.normalize("NFKC", text) for text in texts]


NORMALIZERS: dict[str, Normalizer] = {"neologd": neologd_all, "nfkc": nfkc, "none": list}
