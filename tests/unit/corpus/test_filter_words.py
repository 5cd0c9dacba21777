"""Words of filters: compared with normalized texts, so normalized as these are, whatever the corpus' steps."""

import pytest
from pydantic import ValidationError

from tsumugi.corpus.filters.blocked_words import BlockedWordsFilter
from tsumugi.corpus.filters.boilerplate import BoilerplateFilter
from tsumugi.corpus.filters.filter_words import is_blank
from tsumugi.corpus.filters.length import LengthFilter
from tsumugi.corpus.normalize_shard import Refinement
from tsumugi.corpus.readers.local_files import LocalFiles
from tsumugi.errors import TsumugiError

WORDS = [
    "ＡＢＣ",
    "ｱﾀﾞﾙﾄ",
    "出会い 系",
    "セフレ募集～",
    "SEX 動画",
    "Ａ\u3000Ｂ",
    "ﾊﾟﾁﾝｺ",
    "ーー",
    "㌔",
    "①",
    "ＵＲＬ：／／",
    "A\nB",
    "無料！",
    "ﾀﾀﾞ　",
]


def dropped(text, normalize, cleaning="plain", **section):
    refine = Refinement({"normalize": normalize, "cleaning": cleaning, "filters": [section]})
    objections = {}
    refine({"text": [text], "title": ["題"]}, objections)
    return bool(objections)


@pytest.mark.parametrize("cleaning", ["plain", "title_brackets", "thesis"])
@pytest.mark.parametrize("normalize", ["neologd", "nfkc", "none"])
@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_found_as_it_stands_in_the_raw_text(word, normalize, cleaning):
    for text in (f"これは{word}です。", f"x{word}y", f"前の行\n{word.strip()}", f"{word.strip()}\n次の行"):
        assert dropped(text, normalize, cleaning, name="blocked_words", words=["別", word], max_count=0), text
        if "\n" not in word:
            assert dropped(text, normalize, cleaning, name="boilerplate", phrases=[word], max_share=0.0), text
    assert not dropped("別の文です。", normalize, cleaning, name="blocked_words", words=[word], max_count=0)


@pytest.mark.parametrize("normalize", ["neologd", "nfkc"])
def test_a_word_is_found_in_every_width(normalize):
    for word in ("ＡＢＣ", "ABC"):
        for text in ("ABCを見る", "ＡＢＣを見る"):
            assert dropped(text, normalize, name="blocked_words", words=[word], max_count=0)
    assert not dropped("ABCを見る", "none", name="blocked_words", words=["ＡＢＣ"], max_count=0)
    assert dropped("All Rights Reserved", normalize, "thesis", name="boilerplate", phrases=["ALL RIGHTS"], max_share=0)


def test_white_space_around_a_latin_word_stays_a_border():
    words = {"name": "blocked_words", "words": [" ass "], "max_count": 0}
    for normalize in ("neologd", "nfkc", "none"):
        assert dropped("kick ass now", normalize, **words) and not dropped("a class act", normalize, **words)


@pytest.mark.parametrize("word", [" ", "\u3000", "\n", "\t \xa0", "\0", "\ufeff", "\u2003\x07"])
def test_a_word_of_which_nothing_is_left_is_refused(word):
    assert is_blank(word)
    for model, key in ((BlockedWordsFilter, "words"), (BoilerplateFilter, "phrases")):
        section = {"name": model.__annotations__["name"].__args__[0], key: ["良い", word]}
        with pytest.raises(ValidationError, match="wants a word; of white space alone nothing is left"):
            LocalFiles(reader="local_files", files=["x"], format="text", filters=[section])
        with pytest.raises(TsumugiError, match=rf"filters\.0\.{key}\.1: wants a word; of white space alone nothing"):
            Refinement({"normalize": "none", "cleaning": "plain", "filters": [section]})


class Emptying:
    """A step that takes all letters out, as a normalizer to come might."""

    def texts(self, texts):
        return ["".join(c for c in text if not c.isalpha()) for text in texts]


@pytest.mark.parametrize(("model", "key"), [(BlockedWordsFilter, "words"), (BoilerplateFilter, "phrases")])
def test_a_word_of_which_a_normalizer_leaves_nothing_is_refused(model, key):
    section = {"name": model.__annotations__["name"].__args__[0], key: ["1", "良い"]}
    with pytest.raises(TsumugiError, match=rf"filters\.{section['name']}\.{key}: nothing is left of '良い'"):
        model(**section).with_normalized_words([Emptying()])


def test_a_phrase_of_several_lines_is_refused_since_it_is_looked_for_line_by_line():
    section = {"name": "boilerplate", "phrases": ["良い", "A\nB"]}
    with pytest.raises(ValidationError, match="phrases: a phrase is looked for in one line after the other"):
        BoilerplateFilter(**section)
    for phrase in ("A\nB", "A\n"):  # the latter is one line, until it stands in a text
        with pytest.raises(TsumugiError, match="phrases: a phrase is looked for in one line"):
            Refinement(
                {"normalize": "nfkc", "cleaning": "plain", "filters": [{"name": "boilerplate", "phrases": [phrase]}]}
            )


def test_other_filters_are_left_as_they_are():
    length = LengthFilter(name="length", min_characters=3)
    assert length.with_normalized_words([Emptying()]) == length
