import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tsumugi.corpus.normalizers import NORMALIZERS, neologd, normalize_text

SCRIPT = Path(__file__).parents[2] / "scripts" / "normalize_text.py"


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
    assert normalize_text("あ い\n\n う ", neologd) == "あい\n\nう"


def test_nfkc_and_none():
    assert NORMALIZERS["nfkc"]("①ｶﾞ Ａ") == "1ガ A"
    assert NORMALIZERS["none"](" ① ") == " ① "


WIDE = "\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ff\u3000-\u303f\uff00-\uffef"
NARROW = "!\"#$%&'()*+,-./:;<=>?@[¥]^_`{|}~｡､･｢｣"
FULL = "！”＃＄％＆’（）＊＋，－．／：；＜＝＞？＠［￥］＾＿｀｛｜｝〜。、・「」"


def nfkc_on_runs(characters, text):
    text = re.sub(f"[{characters}]+", lambda run: unicodedata.normalize("NFKC", run[0]), text)
    return text.replace("－", "-")


def neologd_spelled_out(text):
    """The rules one after the other, as they are written down; slow and obvious."""
    text = nfkc_on_runs("０-９Ａ-Ｚａ-ｚ｡-ﾟ", text.strip())
    for run, one in (("˗֊‐‑‒–⁃⁻₋−", "-"), ("﹣－ｰ—―─━ー", "ー"), ("~∼∾〜〰～", "〜")):
        text = re.sub(f"[{run}]+", one, text)
    for narrow, full in zip(NARROW, FULL, strict=True):
        text = text.replace(narrow, full)
    text = re.sub("[ 　]+", " ", text)
    for left, right in ((WIDE, WIDE), (WIDE, "\x00-\x7f"), ("\x00-\x7f", WIDE)):
        pair = re.compile(f"([{left}]) ([{right}])")
        while pair.search(text):
            text = pair.sub(r"\1\2", text)
    return (
        nfkc_on_runs("！”＃＄％＆’（）＊＋，－．／：；＜＞？＠［￥］＾＿｀｛｜｝〜", text)
        .replace("’", "'")
        .replace("”", '"')
    )


@given(st.text() | st.text(alphabet=NARROW + FULL + "あ漢アａ９ｱｶﾞﾟａz \u3000\t﹣－ー—‐−～\u3099\\"))
def test_neologd_is_equal_to_its_rules_spelled_out(text):
    assert neologd(text) == neologd_spelled_out(text)


@given(st.text())
def test_neologd_takes_any_text_and_leaves_no_double_space(text):
    line = neologd(text)
    assert "  " not in line and "\u3000" not in line
    assert not any(unicodedata.east_asian_width(c) == "F" and c.isalnum() and c.isascii() for c in line)


@given(st.text(alphabet="あア漢字a1 　ー-〜・。、「」!?()ｱﾞ０Ａ＝=é"))
def test_neologd_finds_nothing_more_to_do_in_ordinary_text(text):
    once = neologd(text)
    assert neologd(once) == once


def test_the_script_normalizes_line_by_line():
    done = subprocess.run([sys.executable, SCRIPT], input="Ａ　Ｂ\r\n\nｶﾞ\n".encode(), capture_output=True, check=True)
    assert done.stdout.decode() == "A B\n\nガ\n"


def test_the_script_names_the_line_that_is_no_utf8():
    done = subprocess.run([sys.executable, SCRIPT], input=b"ok\n\xff\n", capture_output=True)
    assert done.returncode == 1 and b"standard input:2" in done.stderr
