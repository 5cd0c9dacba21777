"""The rules of mecab-ipadic-neologd, written out one after the other: slow, and obviously these rules.

Source: the page "Regexp" of the wiki of neologd/mecab-ipadic-neologd, in the variant in which a run of tildes becomes
one wave dash instead of vanishing. The order matters.
:mod:`tsumugi.corpus.normalization.neologd` does the same in one pass.
"""

import re
import unicodedata

RUN_OF_HALF_AND_FULL = "０-９Ａ-Ｚａ-ｚ｡-ﾟ"  # the inside of a character class; so is every RUN_OF below
RUN_OF_SYMBOLS = "！”＃＄％＆’（）＊＋，－．／：；＜＞？＠［￥］＾＿｀｛｜｝〜"  # not ＝・「」: these stay wide
RUNS = {"˗֊‐‑‒–⁃⁻₋−": "-", "﹣－ｰ—―─━ー": "ー", "~∼∾〜〰～": "〜"}
NARROW = "!\"#$%&'()*+,-./:;<=>?@[¥]^_`{|}~｡､･｢｣"
FULL = "！”＃＄％＆’（）＊＋，－．／：；＜＝＞？＠［￥］＾＿｀｛｜｝〜。、・「」"
# CJK unified ideographs, hiragana, katakana, CJK symbols and punctuation, half-width and full-width forms
WIDE = "\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff\u3000-\u303f\uff00-\uffef"
LATIN = "\x00-\x7f"


def neologd_by_rules(line: str) -> str:
    """Normalize one line (no line break in it)."""
    line = _nfkc_on_runs(RUN_OF_HALF_AND_FULL, line.strip())
    for run, one in RUNS.items():
        line = re.sub(f"[{run}]+", one, line)
    for narrow, full in zip(NARROW, FULL, strict=True):
        line = line.replace(narrow, full)
    line = re.sub("[ \u3000]+", " ", line)
    for left, right in ((WIDE, WIDE), (WIDE, LATIN), (LATIN, WIDE)):
        pair = re.compile(f"([{left}]) ([{right}])")
        while pair.search(line):
            line = pair.sub(r"\1\2", line)
    return _nfkc_on_runs(RUN_OF_SYMBOLS, line).replace("’", "'").replace("”", '"')


def _nfkc_on_runs(characters: str, text: str) -> str:
    """NFKC of whole runs, as a voiced mark joins the kana before it; after both of them comes ``－`` to ``-``."""
    text = re.sub(f"[{characters}]+", lambda run: unicodedata.normalize("NFKC", run[0]), text)
    return text.replace("－", "-")
