"""The tests' own experiment, experiments/own_articles.yaml, and the user's files that it reads.

The articles are short Japanese notes, each about the thing in its title; the model from outside is a small T5.
"""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

ROOT = Path(__file__).parents[1]
TINY = ROOT / "experiments/own_articles.yaml"

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


def prepare(folder):
    """The user's files: articles, and a small T5 that came from outside."""
    write_articles(folder / "articles")
    kana = map(chr, range(0x3041, 0x3097))
    alphabet = ["<pad>", "</s>", "<unk>", *kana, *"方選洗直（）0123456789"]
    vocabulary = {character: number for number, character in enumerate(dict.fromkeys(alphabet))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.save_pretrained(folder / "my-model")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(fast), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=1, decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder / "my-model")
