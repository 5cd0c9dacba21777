import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugi.corpus.normalization.neologd import neologd, neologd_all
from tsumugi.corpus.normalization.neologd_rules import FULL, NARROW, neologd_by_rules
from tsumugi.corpus.normalization.normalizers import NORMALIZERS

SCRIPT = Path(__file__).parents[3] / "scripts" / "normalize_text.py"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("  両端の空白　", "両端の空白", id="strip"),
        pytest.param("０１２ＡＢＣｘｙｚ", "012ABCxyz", id="full-width letters and digits"),
        pytest.param("ﾊﾝｶｸｶﾞﾅ", "ハンカクガナ", id="half-width kana, voiced marks joined"),
        pytest.param("①㌔ⅷ", "①㌔ⅷ", id="other compatibility characters stay"),
        pytest.param("a˗֊‐‑‒–⁃⁻₋−b", "a-b", id="a run of hyphens"),
        pytest.param("あ﹣ｰ—―─━ーい", "あーい", id="a run of long vowel marks"),
        pytest.param("A－B", "A-B", id="the full-width hyphen is an ASCII one before the vowel rule"),
        pytest.param("10~∼∾〜〰～20", "10〜20", id="a run of tildes"),
        pytest.param("!\"#$%&'()*+,-./:;<>?@[¥]^_`{|}", "!\"#$%&'()*+,-./:;<>?@[¥]^_`{|}", id="there and back"),
        pytest.param(
            "！”＃＄％＆’（）＊＋，．／：；＜＞？＠［￥］＾＿｀｛｜｝", "!\"#$%&'()*+,./:;<>?@[¥]^_`{|}", id="symbols"
        ),
        pytest.param("a=b", "a＝b", id="the equals sign becomes and stays full-width"),
        pytest.param("｡､･｢｣", "。、・「」", id="half-width punctuation"),
        pytest.param("ab  　 cd", "ab cd", id="a run of spaces between Latin words"),
        pytest.param("検索 エンジン 自作 入門", "検索エンジン自作入門", id="no space between wide characters"),
        pytest.param("Python 入門 と C", "Python入門とC", id="nor between wide and Latin"),
        pytest.param("a ! b", "a!b", id="symbols are wide when spaces are looked at"),
        pytest.param("é あ", "é あ", id="a space beside a character of neither class stays"),
        pytest.param("back\\slash", "back\\slash", id="the backslash is not touched"),
        pytest.param("“x”", '“x"', id="the closing quotation mark follows the rule, the opening one has none"),
        pytest.param("", "", id="empty"),
    ],
)
def test_each_rule_of_neologd(before, after):
    assert neologd(before) == after


def test_line_breaks_stay():
    assert neologd("あ い\n\n う ") == "あい\n\nう"


def test_nfkc_and_none():
    assert NORMALIZERS["nfkc"](["①ｶﾞ Ａ"]) == ["1ガ A"]
    assert NORMALIZERS["none"]([" ① "]) == [" ① "]


HARD = NARROW + FULL + "あ漢アa９ｱｶﾊﾞﾟａz \u3000\t﹣－ー—‐−～\u3099\\=é𠮷"  # what the rules speak of, and its neighbours


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])) | st.text(alphabet=HARD))
def test_neologd_is_equal_to_its_rules(line):
    assert neologd(line) == neologd_by_rules(line)


@given(st.text(alphabet=HARD + "\n"))
def test_lines_do_not_touch_one_another(text):
    assert neologd(text) == "\n".join(map(neologd_by_rules, text.split("\n")))


def test_neologd_is_equal_to_its_rules_on_every_character():
    codes = [*range(0x10000), *range(0x10000, 0x110000, 97)]  # beyond the first 65,536 no rule has a character
    every = [chr(code) for code in codes if chr(code) != "\n" and not 0xD800 <= code < 0xE000]
    for around in ("{}", "a {} a", "あ {}あ", "ｶ{}ﾞ"):
        lines = [around.format(character) for character in every]
        assert neologd("\n".join(lines)).split("\n") == list(map(neologd_by_rules, lines))


@given(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])))
def test_neologd_takes_any_text_and_leaves_no_double_space(text):
    line = neologd(text)
    assert "  " not in line and "\u3000" not in line
    assert not any(unicodedata.east_asian_width(c) == "F" and c.isalnum() and c.isascii() for c in line)


@given(st.text(alphabet="あア漢字a1 　-・。、「」!?()ｱﾞ０Ａ＝=é"))
def test_neologd_finds_nothing_more_to_do_in_ordinary_text(text):
    once = neologd(text)
    assert neologd(once) == once


def test_runs_are_joined_before_spaces_go():
    assert neologd("ー ー") == neologd_by_rules("ー ー") == "ーー"  # the rules, once more, would leave one


def test_the_script_normalizes_line_by_line():
    done = subprocess.run([sys.executable, SCRIPT], input="Ａ　Ｂ\r\n\nｶﾞ\n".encode(), capture_output=True, check=True)
    assert done.stdout.decode() == "A B\n\nガ\n"


def test_the_script_names_the_line_that_is_no_utf8():
    done = subprocess.run([sys.executable, SCRIPT], input=b"ok\n\xff\n", capture_output=True)
    assert done.returncode == 1 and b"standard input:2" in done.stderr


def test_the_script_ends_quietly_when_nobody_reads_on():
    done = subprocess.run(
        f"yes ＡＢＣ | head -n 200000 | {sys.executable} {SCRIPT} | head -n 1", shell=True, capture_output=True
    )
    assert done.stdout.decode() == "ABC\n" and done.stderr == b""


@given(st.lists(st.text(), max_size=6))
def test_texts_that_are_normalized_together_are_as_if_alone(texts):
    assert neologd_all(texts) == list(map(neologd, texts))
