"""Wikipedia's dumps in their true forms."""

import bz2
import gzip
from xml.sax.saxutils import escape as xml_escape

import pytest

from corpus_samples import read_all, read_items, write_jsonl
from tsumugi.corpus.extract.wikitext import extract_wikitext
from tsumugi.errors import TsumugiError

MARKUP = """{{記事|題=x}}
'''紬'''（つむぎ）は、[[絹織物]]の[[糸|いと]]である<ref>{{cite|a}}</ref>。<!-- 注 -->
[[ファイル:a.jpg|thumb|[[絹]]の説明]]
== 歴史 ==
* 一つ目は''斜体''
<gallery>
a.jpg|x
</gallery>
{| class="wikitable"
|表||の中
|}
<div>[http://a.example 外部]の話[[:Category:絹]]</div>
[[Category:絹|つむき]]
"""
PAGE = """  <page>
    <title>{title}</title><ns>{ns}</ns><id>{number}</id>{redirect}
    <revision><id>9{number}</id><timestamp>2024-05-01T00:00:00Z</timestamp>
      <contributor><username>u</username><id>77</id></contributor>
      <text bytes="1" xml:space="preserve">{text}</text></revision>
  </page>
"""


def make_dump(path, pages):
    """An XML dump as MediaWiki exports it; ``pages``: (title, namespace, id, markup, redirect)."""
    filled = [
        PAGE.format(title=xml_escape(t), ns=ns, number=number, text=xml_escape(text), redirect=redirect)
        for t, ns, number, text, redirect in pages
    ]
    head = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="ja">\n'
    path.write_bytes(bz2.compress((head + "".join(filled) + "</mediawiki>\n").encode()))
    return path


def test_an_xml_dump_of_wikipedia(tmp_path):
    pages = [
        ("紬", 0, 5, MARKUP, ""),
        ("つむぎ", 0, 6, "#転送 [[紬]]", '<redirect title="紬" />'),
        ("利用者:鳥", 2, 7, "私の頁", ""),
        ("鳥 & 魚", 0, 8, "鳥は飛ぶ。", ""),
    ]
    first, last = read_all("wikipedia", make_dump(tmp_path / "jawiki.xml.bz2", pages))
    assert first.text.split("\n") == [
        "紬（つむぎ）は、絹織物のいとである。",
        "歴史",
        "一つ目は斜体",
        "外部の話:Category:絹",
    ]
    assert (first.title, first.meta) == ("紬", {"page": 5, "timestamp": "2024-05-01T00:00:00Z"})
    assert (first.source, first.licence) == ("jawiki.xml.bz2:5", "CC-BY-SA-4.0")
    assert (last.title, last.text, last.meta["page"]) == ("鳥 & 魚", "鳥は飛ぶ。", 8)
    assert read_all("wikinews", tmp_path / "jawiki.xml.bz2")[0].licence == "CC-BY-2.5"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("__NOTOC__\n本文。__目次強制__", "本文。"),
        ("＿＿目次＿＿一__notoc__二__NOINDEX__三__DISAMBIG__", "一二三"),
        ("C の __FILE__ と Python の __init__、__index__", "C の __FILE__ と Python の __init__、__index__"),
        ("<nowiki>__NOTOC__<br /></nowiki>", "__NOTOC__<br />"),
        ("東京<br />大阪<br>京都<BR/>奈良<br clear=all>神戸</br>津", "東京\n大阪\n京都\n奈良\n神戸\n津"),
        ("一<br/ >二<br / >三__EXPECTED_UNCONNECTED_PAGE__", "一\n二\n三"),
        ("一<hr />二\n----\n三", "一\n二\n三"),
        ("<p>一</p><p>二</p><div>三</div>四<p>五", "一\n二\n三\n四\n五"),
        ("* 一<br />二\n* '''三<br/>四'''", "一\n二\n三\n四"),
        ("[[絹|一<br />二]][http://a.example 三<br />四]", "一\n二三\n四"),
        ("== 見<br />出し ==\n本文", "見\n出し\n本文"),
        ("一<nowiki />二<wbr />三<ref name=a />四<references />五<section begin=x />六", "一二三四五六"),
        ("<templatestyles src='a' />本文<mapframe x=1 /><gallery />", "本文"),
        ("<chem>H2O</chem>水<includeonly>雛形</includeonly><noinclude>説明</noinclude>", "水説明"),
        ("<small>小さい<br />字</small>、<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>", "小さい\n字、漢(かん)"),
        ("<br />", ""),
        ("a < b > c と a<b", "a < b > c と a<b"),
    ],
)
def test_switches_and_single_tags_are_no_prose(markup, text):
    assert extract_wikitext(markup) == text


def test_a_page_that_is_too_large_is_not_parsed(tmp_path):
    path = make_dump(tmp_path / "a.xml.bz2", [("a", 0, 1, "[[" * 5000, ""), ("b", 0, 2, "次", "")])
    large, small = read_items("wikipedia", path, limit=1000)
    assert str(large) == f"{path}:page 1: 10,000 characters of markup, more than max_document_bytes (1,000)"
    assert small.text == "次"


def test_entities_of_a_dump_are_not_followed(tmp_path):
    path = make_dump(tmp_path / "a.xml.bz2", [("a", 0, 1, "本文", "")])
    dump = bz2.decompress(path.read_bytes()).decode()
    bomb = '<!DOCTYPE m [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY y "&x;&x;">]>\n'
    path.write_bytes(bz2.compress((bomb + dump.replace("本文", "前&x;後&y;")).encode()))
    (found,) = read_all("wikipedia", path)
    assert "root" not in found.text


def test_a_dump_that_is_none_or_breaks_off_is_named(tmp_path):
    path = make_dump(tmp_path / "a.xml.bz2", [("a", 0, 1, "本文", "")])
    dump = bz2.decompress(path.read_bytes())
    path.write_bytes(bz2.compress(dump[:-40]))
    with pytest.raises(TsumugiError, match=r"a\.xml\.bz2: malformed XML"):
        read_all("wikipedia", path)
    path.write_bytes(b"PK zip")
    with pytest.raises(TsumugiError, match="begins with b'PK zip', so it is neither"):
        read_all("wikipedia", path)


def test_a_cirrussearch_dump(tmp_path):
    rows = [
        {"index": {"_type": "page", "_id": "5"}},
        {"title": "紬", "text": "紬は絹織物。", "namespace": 0, "timestamp": "2024", "category": ["絹"]},
        {"index": {"_type": "page", "_id": "6"}},
        {"title": "Template:x", "text": "x", "namespace": 10},
        {"index": {"_type": "page", "_id": "7"}},
        {"title": "壊れた頁", "namespace": 0},
    ]
    path = tmp_path / "jawiki-content.json.gz"
    path.write_bytes(gzip.compress(write_jsonl(tmp_path / "x", rows).read_bytes()))
    found, bad = read_items("wikipedia", path)
    assert (found.title, found.text, found.source) == ("紬", "紬は絹織物。", "jawiki-content.json.gz:5")
    assert found.meta == {"page": "5", "timestamp": "2024", "categories": ["絹"]}
    assert str(bad).startswith(f"{path}:6: no field 'text'")
