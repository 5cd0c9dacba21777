"""Normalizers: texts in, texts out, each line by line. The line breaks stay."""

import unicodedata
from collections.abc import Callable, Sequence

Normalizer = Callable[[Sequence[str]], list[str]]


def nfkc(texts: Sequence[str]) -> list[str]:
    """Unicode normalization form KC (Unicode Standard Annex 15), and nothing else."""
    return [unicodedata.normalize("NFKC", text) for text in texts]


def neologd_texts(texts: Sequence[str]) -> list[str]:
    """The rules of mecab-ipadic-neologd, see :mod:`tsumugi.corpus.normalization.neologd_rules`."""
    from tsumugi.corpus.normalization.neologd import neologd_all  # compiled: the configuration has the names alone

    return neologd_all(texts)


NORMALIZERS: dict[str, Normalizer] = {"neologd": neologd_texts, "nfkc": nfkc, "none": list}
