"""Japanese text to measure with: made from common words, with now and then a rare character."""

import random
from collections.abc import Sequence

NOUNS = [
    "文字",
    "端末",
    "設定",
    "利用者",
    "天気",
    "新聞",
    "研究",
    "モデル",
    "データ",
    "サーバー",
    "ファイル",
    "会議",
    "歴史",
]
VERBS = ["使う", "読む", "調べる", "表示する", "書き換える", "始まった", "変わらない", "見つかりました", "続けている"]
OPENINGS = ["また", "しかし", "そのため", "例えば", "昨日", "一般に", "2024年には", "この場合", "ところで"]
SEED = 7
RARE = 0.02  # share of the words that are a kanji out of all
UNKEMPT = 0.05  # share of the characters behind which something is sprinkled


def documents(count: int, sentences: int) -> list[str]:
    """Texts of paragraphs, different each, the same in every run."""
    draw = random.Random(SEED)

    def word(choices: Sequence[str]) -> str:
        return chr(draw.randrange(0x4E00, 0x9FA0)) if draw.random() < RARE else draw.choice(choices)

    def sentence() -> str:
        particles = [draw.choice("はがのもを"), draw.choice("をにでと")]
        end = draw.choice(["。", "。", "。\n", "。\n\n"])
        return f"{word(OPENINGS)}、{word(NOUNS)}{particles[0]}{word(NOUNS)}{particles[1]}{word(VERBS)}{end}"

    return ["".join(sentence() for _ in range(sentences)) for _ in range(count)]


def unkempt(texts: Sequence[str]) -> list[str]:
    """The same texts as they come from the web: full-width letters, half-width kana, spaces, all kinds of dashes."""
    draw = random.Random(SEED)
    sprinkled = ["ＰＣ", "２０２４", "ｶﾞｲﾄﾞ", " ", "\u3000", "ABC ", "〜", "－", "（笑）", "!", "……"]
    return ["".join(c + (draw.choice(sprinkled) if draw.random() < UNKEMPT else "") for c in text) for text in texts]
