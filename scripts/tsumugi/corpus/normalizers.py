"""Normalizers: a line in, a line out. ``neologd`` follows the rules of the mecab-ipadic-neologd wiki.

Source of the rules: "Regexp" page of the wiki of neologd/mecab-ipadic-neologd, in the variant in which runs of tildes
become one wave dash instead of vanishing. The steps are in the wiki's order; the order matters.
"""

import re
import unicodedata
from collections.abc import Callable

Normalizer = Callable[[str], str]

_HALF_AND_FULL = re.compile("[０-９Ａ-Ｚａ-ｚ｡-ﾟ]+")
_HYPHENS = re.compile("[˗֊‐‑‒–⁃⁻₋−]+")
_LONG_VOWELS = re.compile("[﹣－ｰ—―─━ー]+")
_TILDES = re.compile("[~∼∾〜〰～]+")
_WIDEN = str.maketrans(
    "!\"#$%&'()*+,-./:;<=>?@[¥]^_`{|}~｡､･｢｣",
    "！”＃＄％＆’（）＊＋，－．／：；＜＝＞？＠［￥］＾＿｀｛｜｝〜。、・「」",
)
_SPACES = re.compile("[ \u3000]+")
_WIDE = "\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff\u3000-\u303f\uff00-\uffef"
# After _SPACES every space stands alone, so its neighbours are no spaces and one pass finds what repeated ones would.
_SPACE_BESIDE_WIDE = re.compile(rf"(?<=[{_WIDE}]) (?=[{_WIDE}\x00-\x7f])|(?<=[\x00-\x7f]) (?=[{_WIDE}])")
# NFKC of each of these is one character, whatever stands beside it; the last three follow from the rules.
_NARROW = str.maketrans(
    {c: unicodedata.normalize("NFKC", c) for c in "！”＃＄％＆’（）＊＋，－．／：；＜＞？＠［￥］＾＿｀｛｜｝〜"}
    | {"－": "-", "’": "'", "”": '"'}
)


def neologd(line: str) -> str:
    """Normalize one line (no line break in it) with the neologd rules."""
    line = line.strip()
    line = _HALF_AND_FULL.sub(lambda match: unicodedata.normalize("NFKC", match[0]), line).replace("－", "-")
    line = _HYPHENS.sub("-", line)
    line = _LONG_VOWELS.sub("ー", line)
    line = _TILDES.sub("〜", line)
    line = line.translate(_WIDEN)
    line = _SPACES.sub(" ", line)
    line = _SPACE_BESIDE_WIDE.sub("", line)
    return line.translate(_NARROW)


def nfkc(line: str) -> str:
    """Unicode normalization form KC (Unicode Standard Annex 15), and nothing else."""
    return unicodedata.normalize("NFKC", line)


def unchanged(line: str) -> str:
    """The line as it is."""
    return line


NORMALIZERS: dict[str, Normalizer] = {"neologd": neologd, "nfkc": nfkc, "none": unchanged}


def normalize_text(text: str, normalizer: Normalizer) -> str:
    """Normalize a document line by line; its line breaks stay."""
    return "\n".join(map(normalizer, text.split("\n")))
