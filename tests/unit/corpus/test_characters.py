"""What is counted in one compiled pass, against what Python says of each character."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from tsumugi.corpus.normalization.characters import count_characters, count_repeated
from tsumugi.corpus.normalization.clean_check import are_clean
from tsumugi.corpus.normalization.clean_text import clean_text
from tsumugi.corpus.normalization.text_cleanup import clean_texts

KANA_AND_KANJI = re.compile(r"[\u3040-\u309f\u30a0-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f々〆]")
UNTIDY = st.text(st.sampled_from("鳥が a\n\n\n \u3000\t\r\x0b\x0c\x85\u2028\x00\x1f\x7f\x9f\ufeff\ufffe"), max_size=30)


@given(st.text())
@example("".join(map(chr, range(0xD800))) + "".join(map(chr, range(0xE000, 0x11000))))
def test_the_classes_are_those_of_python(text):
    _, counts, _ = count_characters(["鳥", text, ""])
    assert counts.visible == len("".join(text.split()))
    assert counts.alphanumeric == sum(map(str.isalnum, text))
    assert counts.japanese == len(KANA_AND_KANJI.findall(text))


@given(st.text(st.sampled_from("あいう"), max_size=60), st.integers(1, 6))
def test_repeated_ngrams_are_those_that_a_set_misses(text, n):
    ngrams = [text[place : place + n] for place in range(len(text) - n + 1)]
    assert count_repeated(text, n) == (len(ngrams) - len(set(ngrams)), len(ngrams))


@given(UNTIDY | st.text())
def test_a_clean_text_is_one_that_the_rules_leave_alone(text):
    assert clean_texts(["鳥 ", text, "a"]) == ["鳥", clean_text(text), "a"]
    assert not are_clean([text])[0] or clean_text(text) == text


def test_ordinary_texts_are_seen_to_be_clean():
    texts = ["鳥が飛ぶ。\n波が 寄せる。\n\n夜になる。", "", "鳥 \n", "a\t"]
    assert are_clean(texts) == [True, True, False, False]
