"""Documents that the tests make: short Japanese notes, each about the thing in its title."""

import json
import random
from pathlib import Path

THINGS = ["包丁", "手袋", "時計", "自転車", "望遠鏡", "植木鉢", "雨傘", "楽譜", "石鹸", "地図", "毛布", "電卓"]
DOINGS = ["選び方", "洗い方", "直し方", "しまい方"]
SENTENCES = [
    "{thing}は毎日の暮らしで役に立つ道具です。",
    "古い{thing}でも、正しく扱えば長く使えます。",
    "{thing}を買う前に、置く場所の広さを測りましょう。",
    "使い終わった{thing}は、乾いた布で拭いてください。",
    "「{thing}」という名前は、地方によって異なります。",
    "冬のあいだ、{thing}は暖かい部屋に置くと安全です。",
    "説明書をよく読んでから、{thing}に触れてください。",
    "子どもが{thing}で遊ぶときは、大人がそばで見守ります。",
]
FIRST_RARE = 0x4E80  # a kanji of its own for each document, none of which stands in a sentence above


def rare_character(number: int) -> str:
    """The character that only document ``number`` has."""
    used = set("".join([*THINGS, *DOINGS, *SENTENCES]))
    free = [chr(code) for code in range(FIRST_RARE, FIRST_RARE + 4000) if chr(code) not in used]
    return free[number]


def write_articles(folder: Path, count: int = 240) -> None:
    """``count`` articles as JSON lines in two files, and two that the workflow has to drop."""
    chance = random.Random(0)
    folder.mkdir(parents=True)
    articles = []
    for number in range(count):
        thing, doing = chance.choice(THINGS), chance.choice(DOINGS)
        sentences = chance.sample(SENTENCES, 5)
        body = "\n".join(sentence.format(thing=thing) for sentence in sentences)
        body += f"\n整理記号は{rare_character(number) * 3}です。"
        articles.append({"title": f"{thing}の{doing}（{number}）", "body": body, "kind": doing})
    articles.append({"title": "短すぎる", "body": "これだけ。", "kind": "短文"})
    articles.append(dict(articles[0], title="同じ本文"))
    for part in range(2):
        lines = [json.dumps(article, ensure_ascii=False) for article in articles[part::2]]
        (folder / f"part{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
