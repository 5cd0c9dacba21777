"""Documents out of packages: each format in a small file of its true form; the readers over them; the real packages."""

import gzip
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from corpus_samples import MAN_PAGE, NOVEL, make_deb, make_tar
from tsumugi.corpus.extract.aozora import extract_aozora
from tsumugi.corpus.extract.electron import extract_electron
from tsumugi.corpus.extract.html_sections import extract_sections, without_number
from tsumugi.corpus.extract.html_styles import BARE, DOCBOOK, DOCBOOK_PAGE, SISU, SPHINX, TEXINFO
from tsumugi.corpus.extract.mallard import extract_mallard
from tsumugi.corpus.extract.openapi import extract_openapi
from tsumugi.corpus.extract.package_descriptions import extract_description
from tsumugi.corpus.extract.tax_documents import extract_tax_documents
from tsumugi.corpus.fetch_corpus import fetch_corpus, recorded_files
from tsumugi.corpus.readers import READERS, RawFile
from tsumugi.corpus.readers.debian_docs import DebianDocs
from tsumugi.corpus.sources.registries import npm_archive, wheel_pattern
from tsumugi.errors import TsumugiError

# --- HTML ---

DOCBOOK_PAGE_OF_BIRDS = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>第 2 章 鳥</title>
<link rel="home" href="index.html" title="本"/><link rel="up" href="animals.html" title="動物"/></head><body>
<div class="navheader"><table><tr><th>第 2 章 鳥</th></tr>
<tr><td><a href="x.html">前の章へ戻る</a></td></tr></table></div>
<div class="chapter"><div class="titlepage"><h1 class="title"><a id="birds"></a>第 2 章 鳥</h1></div>
<div class="toc"><p>目次です。</p><dl><dt><a href="#sea">2.1. 海の鳥</a></dt></dl></div>
<p>鳥は空を
飛ぶ。<code class="literal">tori</code> と書く。</p><p>Left in English by the translators.</p>
<div class="sect1"><h2 class="title"><a id="sea"></a>2.1. 海の鳥</h2><p>海の鳥は白い。</p>
<div class="note"><h3 class="title">注記</h3><p>黒い鳥もいる。</p></div>
<div class="tip"><table><tr><td rowspan="2"><img src="tip.png" alt="ヒント"/></td><th align="left">ヒント</th></tr>
<tr><td><p>朝に見るとよい。</p></td></tr></table></div>
<pre class="screen">鳥を数える --all</pre>
<table><thead><tr><th>名前</th><th>色</th></tr></thead><tbody><tr><td>鴎</td><td>白</td></tr></tbody></table>
<ul><li><p><a href="a.html">鴎についての別の頁</a></p></li>
<li><p>詳しくは<a href="b.html">燕</a>を見よ。</p></li></ul></div>
<div class="sect1"><h2 class="title">2.2. 空の節</h2></div></div>
<div class="navfooter"><p>次の章へ進みます。</p></div></body></html>"""


def titled(pages):
    return [(page.title, page.text.split("\n")) for page in pages]


SEA = ["海の鳥は白い。", "黒い鳥もいる。", "朝に見るとよい。", "名前、色", "鴎、白", "詳しくは燕を見よ。"]


def test_docbook_is_cut_at_its_headings():
    assert titled(extract_sections(DOCBOOK_PAGE_OF_BIRDS.encode(), DOCBOOK)) == [
        ("鳥", ["鳥は空を飛ぶ。tori と書く。"]),
        ("鳥 - 海の鳥", SEA),
    ]


def test_a_page_of_short_sections_stays_whole():
    (page,) = titled(extract_sections(DOCBOOK_PAGE_OF_BIRDS.encode(), DOCBOOK_PAGE))
    assert page == ("鳥", ["鳥は空を飛ぶ。tori と書く。", "海の鳥", *SEA])


def test_sphinx():
    page = """<html><head><title>7.1. 検索 &#8212; 手引き</title></head><body><nav><p>左の目次です。</p></nav>
<main role="main"><section id="search"><h1><span class="section-number">7.1. </span>検索<a class="headerlink" href="#s"
 title="この見出しへのリンク">¶</a></h1><div class="toctree-wrapper"><ul><li>下の頁</li></ul></div>
<section><h2>使い方</h2><p>言葉を<em>一つ</em>渡す。</p>
<div class="admonition note"><p class="admonition-title">注釈</p><p>大文字と小文字を区別しない。</p></div>
<div class="highlight-none"><div class="highlight"><pre>検索 鳥</pre></div></div></section></section></main></body>
</html>"""
    (section,) = titled(extract_sections(page.encode(), SPHINX))
    assert section == ("検索 - 使い方", ["言葉を一つ渡す。", "大文字と小文字を区別しない。"])


def test_texinfo():
    page = """<html><head><title>学習の手引き: 1.4 楽譜を書く</title></head><body><div id="main">
<table class="nav_table"><tr><td>[<a href="i.html"> 上へ </a>] 目次の頁</td></tr></table>
<h2 class="section">1.4 楽譜を書く</h2><p>音符は<code>c</code>や<code>d</code>と書きます。</p>
<blockquote><pre class="example">{ 音 }</pre></blockquote>
<table class="menu"><tr><td>下の節へ進む</td></tr></table><h4 class="subheading">参照</h4>
<p><a href="x">別の節</a>、<a href="y">表</a></p>
<div id="footer"><p>この頁の版について。</p></div></div></body></html>"""
    assert titled(extract_sections(page.encode(), TEXINFO)) == [("楽譜を書く", ["音符はcやdと書きます。"])]


def test_sisu():
    box = '<div class="substance"><label class="ocn"><a href="#1">1</a></label>{}</div>'
    blocks = ['<h1 class="norm">1. 概要</h1>', '<p class="i0">本を作ります。</p>', '<p class="code">本 --作る</p>']
    blocks += ['<p class="bold">1.1 急ぐ人へ</p>', '<p class="i1">先に<b>例</b>を読みます。</p>']
    page = "<html><head><title>概要</title></head><body><p>上の飾りです。</p>" + "".join(map(box.format, blocks))
    assert titled(extract_sections(page.encode(), SISU)) == [
        ("概要", ["本を作ります。"]),
        ("概要 - 急ぐ人へ", ["先に例を読みます。"]),
    ]


@pytest.mark.parametrize(
    ("heading", "title"),
    [
        ("第3章 起動", "起動"),
        ("第 3 章起動", "起動"),
        ("付録 B. 索引の例", "索引の例"),
        ("3.1.2. 起動", "起動"),
        ("1.4 起動", "起動"),
        ("A.2 起動", "起動"),
        ("64-bit PC", "64-bit PC"),
        ("3 つの道", "3 つの道"),
        ("C 言語", "C 言語"),
    ],
)
def test_titles_go_without_their_numbers(heading, title):
    assert without_number(heading) == title


@given(st.text())
def test_no_page_breaks_the_html_extractor(text):
    page = f"<h1>鳥</h1><p>鳥を数える。</p><p>{text}<table><tr><td>{text}<a href=x>{text}"
    assert all(section.text.strip() for section in extract_sections(text.encode("utf-8", "replace"), BARE))
    sections = list(extract_sections(page.encode("utf-8", "replace"), BARE))
    assert "鳥を数える。" in sections[0].text
    assert all(section.text.strip() for section in sections)


# --- other formats ---

MALLARD = """<?xml version="1.0" encoding="utf-8"?>
<page xmlns="http://projectmallard.org/1.0/" type="topic" id="birds-count" xml:lang="ja">
  <info><link type="guide" xref="birds#top"/><desc>鳥の数え方の要約です。</desc></info>
  <title>鳥を<gui>数える</gui></title><!-- 注 -->
  <p>港で
  鳥を数えます。</p><p>Not translated.</p>
  <section id="tools"><title>道具</title><steps><item><p>双眼鏡を持ちます。</p>
    <screen>鳥 --all</screen></item></steps></section>
  <section id="none"><title>空の節</title></section>
</page>"""


def test_mallard():
    page = extract_mallard(MALLARD.encode())
    assert (page.title, page.category) == ("鳥を数える", "birds")
    assert page.text.split("\n") == ["港で鳥を数えます。", "道具", "双眼鏡を持ちます。"]
    assert (
        extract_mallard(b'<page xmlns="http://projectmallard.org/1.0/"><title>x</title><p>English</p></page>') is None
    )


def test_aozora():
    source = NOVEL.format(long="\n".join(["　" + "鳥" * 1500] * 3)).replace("\n", "\r\n")
    pages = extract_aozora(source.encode())
    assert [page.title for page in pages] == ["鳥の話 一 (1)", "鳥の話 二 (1)", "鳥の話 二 (2)"]
    assert pages[0].text == "港に白い鳥がいる。\n「噎\U0002a133」\n寒い朝だ。".replace("噎", "嘻")
    assert pages[2].text == "鳥" * 1500 + "\n終りの段落だ。"
    assert {page.category for page in pages} == {"novel"}


def test_a_rare_character_that_there_is_not_becomes_a_mark():
    source = NOVEL.format(long="")
    for note in ("U+D800、1", "U+FFFFFF、1", "第3水準1-99-99"):
        (page, *_) = extract_aozora(source.replace("第3水準1-15-18", note).encode())
        assert "「〓" in page.text, note


def test_package_description():
    lines = [
        "鳥を数える道具 (翻訳)",
        " 鳥を",
        " 数えます。",
        " .",
        " 次のことができます:",
        "  * 白い鳥",
        "    を選ぶ",
        " English.",
    ]
    page = extract_description("\n".join(lines))
    assert page.title == "鳥を数える道具 (翻訳)"
    assert page.text.split("\n") == ["鳥を数えます。", "次のことができます:", "* 白い鳥を選ぶ"]
    assert extract_description("birds\n count them") is None


def test_electron():
    document = {"title": "鳥", "category": "api", "html": "<h1>鳥</h1>\n<p>鳥です。</p><h2>数</h2><p>数です。</p>"}
    data = json.dumps({"en-US": {"/docs/a": {}}, "ja-JP": {"/docs/a": document}}).encode()
    assert [(page.title, page.text, page.category) for page in extract_electron(data)] == [
        ("鳥", "鳥です。", "api"),
        ("鳥 - 数", "数です。", "api"),
    ]
    with pytest.raises(ValueError, match="not the documents of electron-i18n"):
        list(extract_electron(b'{"en-US": {}}'))


def test_openapi():
    parameters = [
        {"name": "limit", "description": "件数の上限\n<ul>\n<li>初期値は二十</li>\n</ul>"},
        {"name": "offset"},
    ]
    listing = {
        "summary": "取引先の一覧",
        "description": "<h2>概要</h2><p>一覧を返します。</p>",
        "parameters": parameters,
    }
    data = json.dumps({"paths": {"/a": {"get": listing, "post": {"summary": "作成"}, "parameters": []}}}).encode()
    (page,) = extract_openapi(data)
    assert (page.title, page.text.split("\n")) == (
        "取引先の一覧",
        ["一覧を返します。", "limit: 件数の上限", "初期値は二十"],
    )
    with pytest.raises(ValueError, match="not an OpenAPI description"):
        list(extract_openapi(b"[]"))


REGISTRY = [
    ("zei-hou-art-2", "statute", "仮の税法", "2", "条文です。\n二項です。"),
    ("kari-tsutatsu-9-1", "tsutatsu", "仮の通達", None, "通達です。"),
    ("gensen-taxanswer-2502", "taxanswer", "答え", None, "源泉\n本文です。"),
    ("ntt-1972", "ruling", None, None, "争われた事例\n理由です。"),
]


def registry():
    keys = ("juri_id", "layer", "law_name_ja", "article_number")
    documents = [dict(zip(keys, row[:4], strict=True), license=f"licence of {row[0]}") for row in REGISTRY]
    texts = [{"juri_id": row[0], "text": row[4]} for row in REGISTRY]
    return [b"\n".join(json.dumps(row).encode() for row in rows) + b"\n" for rows in (documents, texts)]


def test_tax_documents():
    pages = list(extract_tax_documents(*registry()))
    assert [(page.title, page.text, page.category) for page in pages] == [
        ("仮の税法 第2条", "条文です。\n二項です。", "statute"),
        ("仮の通達 9-1", "通達です。", "tsutatsu"),
        ("答え 2502 源泉", "本文です。", "taxanswer"),
        ("争われた事例", "理由です。", "ruling"),
    ]
    assert pages[3].licence == "licence of ntt-1972"
    with pytest.raises(ValueError, match="not a registry of juricode-mcp"):
        list(extract_tax_documents(b'{"juri_id": "a"}', b'{"juri_id": "b"}'))


# --- packages ---


def wheel(path, texts=True):
    documents, bodies = registry()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("juricode_mcp/demo_snapshot/registry/documents.jsonl", documents)
        if texts:
            archive.writestr("juricode_mcp/demo_snapshot/registry/texts.jsonl", bodies)
    return path


TRANSLATIONS = """Package: kamome
Description-md5: 00
Description-ja: 鳥を数える
 港の鳥を数えます。

Package: tsubame
Description-md5: 01
Description-ja: swallows
 not translated

Package: hato
Description-ja: 鳩を飛ばす
 手紙を運びます。
"""


def every_kind(folder):
    """A file of each kind under ``folder``, and the config that reads them."""
    make_deb(
        folder / "gimp-help-ja_1-1_all.deb",
        "gimp-help-ja",
        {"usr/share/gimp/2.0/help/ja/birds.html": DOCBOOK_PAGE_OF_BIRDS.encode()},
    )
    make_deb(
        folder / "groonga-doc_1-1_all.deb",
        "groonga-doc",
        {
            "usr/share/doc/groonga-doc/ja/html/reference/a/b.html": "<div role=main><h1>題</h1><p>本文。".encode(),
            "usr/share/doc/groonga-doc/ja/html/a.html": "<div role=main><h1>題</h1><p>別の本文。".encode(),
            "usr/share/doc/groonga-doc/en/html/a.html": "<div role=main><h1>題</h1><p>読まれない。".encode(),
        },
    )
    make_deb(
        folder / "gnome-user-docs_1-1_all.deb", "gnome-user-docs", {"usr/share/help/ja/x/a.page": MALLARD.encode()}
    )
    novel = NOVEL.format(long="　鳥だ。").encode()
    make_tar(folder / "sentencepiece_0.1.orig.tar.gz", {"sentencepiece-0.1/data/wagahaiwa_nekodearu.txt": novel})
    page = {"title": "鳥", "category": "api", "html": "<p>鳥です。</p>"}
    docs = json.dumps({"ja-JP": {"a": page}}).encode()
    make_tar(folder / "electron-i18n-1.0.0.tgz", {"package/package.json": b"{}", "package/dist/docs.json": docs})
    wheel(folder / "juricode_mcp-0.1.0-py3-none-any.whl")
    (folder / "a_dists_b_i18n_Translation-ja.gz").write_bytes(gzip.compress(TRANSLATIONS.encode()))
    index = "Package: kamome\nVersion: 1\nSection: science\n\nPackage: hato\nSection: net\n"
    (folder / "a_dists_b_Packages.gz").write_bytes(gzip.compress(index.encode()))
    return {
        "reader": "debian_docs",
        "packages": ["gimp-help-ja", "groonga-doc", "gnome-user-docs"],
        "source_packages": ["sentencepiece"],
        "package_descriptions": True,
        "npm_packages": ["electron-i18n@1.0.0"],
        "pypi_packages": ["juricode-mcp==0.1.0"],
    }


def test_files_of_every_kind_are_found_recorded_and_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = every_kind(Path("data/all"))
    spec = DebianDocs(**spec).model_dump(mode="json")
    manifest = fetch_corpus(spec, Path("data/all"), Path("raw.json"))
    recorded = {file["name"]: (file["version"], file["licence"]) for file in manifest["results"]["files"]}
    assert recorded["gimp-help-ja"] == ("1.0-1", "GFDL-1.2+")
    assert recorded["sentencepiece"] == ("0.1", "public domain")
    assert recorded["electron-i18n"] == ("1.0.0", "MIT")
    assert recorded["juricode-mcp"][0] == "0.1.0"
    found = list(READERS["debian_docs"].read(recorded_files("raw.json"), spec))
    novel, docs = "sentencepiece:sentencepiece-0.1/data/wagahaiwa_nekodearu.txt", "electron-i18n:package/dist/docs.json"
    groonga, law = "groonga-doc:usr/share/doc/groonga-doc/ja/html", "juricode-mcp:juricode_mcp/demo_snapshot/registry"
    assert [(d.source, d.category, d.licence) for d in found] == [
        ("gimp-help-ja:usr/share/gimp/2.0/help/ja/birds.html", "animals", "GFDL-1.2+"),
        (f"{groonga}/reference/a/b.html", "reference", "LGPL-2.1"),
        (f"{groonga}/a.html", "groonga-doc", "LGPL-2.1"),
        ("gnome-user-docs:usr/share/help/ja/x/a.page", "birds", "CC-BY-SA-3.0"),
        (f"{novel}#1", "novel", "public domain"),
        (f"{novel}#2", "novel", "public domain"),
        (docs, "api", "MIT"),
        *((f"{law}/texts.jsonl#{n}", row[1], f"licence of {row[0]}") for n, row in enumerate(REGISTRY, start=1)),
        ("Translation-ja:kamome", "science", "not stated in the index"),
        ("Translation-ja:hato", "net", "not stated in the index"),
    ]
    assert len({document.id for document in found}) == len(found)
    assert all(document.title and document.text for document in found)


def test_members_chooses_and_what_chooses_nothing_is_named(tmp_path):
    folder = "usr/share/man/ja/man1"
    path = make_deb(
        tmp_path / "a_1_all.deb", "a", {f"{folder}/{n}.1": MAN_PAGE.encode() for n in ("kamome", "tsubame", "umineko")}
    )
    file = RawFile(str(path), "a", "1", "x")
    found = READERS["debian_docs"].read([file], {"members": {"a": ["*/kamome.1", "*/um*"]}})
    assert [document.source.rpartition("/")[2] for document in found] == ["kamome.1", "umineko.1"]
    with pytest.raises(TsumugiError, match=r"a_1_all\.deb: holds no page that members \(\*\.html\) chooses"):
        list(READERS["debian_docs"].read([file], {"members": {"a": ["*.html"]}}))


def test_a_package_without_a_known_page_is_named(tmp_path):
    path = make_deb(tmp_path / "a_1_all.deb", "a", {"usr/share/doc/a/README": "読まれない。".encode()})
    with pytest.raises(TsumugiError, match=r"a_1_all\.deb: holds no page of a kind that debian_docs knows"):
        list(READERS["debian_docs"].read([RawFile(str(path), "a", "1", "x")], {}))
    path = wheel(tmp_path / "juricode_mcp-0.2.0-py3-none-any.whl", texts=False)
    with pytest.raises(TsumugiError, match=r"\.whl: holds no page of a kind"):
        list(READERS["debian_docs"].read([RawFile(str(path), "juricode-mcp", "0.2.0", "x")], {}))


def test_damaged_files_of_every_kind_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = every_kind(Path("data/all"))
    fetch_corpus(spec, Path("data/all"), Path("raw.json"))
    for file in recorded_files("raw.json"):
        path = Path(file.path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(TsumugiError, match=path.name.replace(".", r"\.")):
            list(READERS["debian_docs"].read([file], {}))
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("package", "member", "data", "message"),
    [
        ("gnome-user-docs", "usr/share/help/ja/x/a.page", b"<page><p>", "not a page of its kind"),
        ("groonga-doc", "usr/share/doc/groonga-doc/ja/html/a.html", b"<p>\xff", r"a\.html: not UTF-8 at byte 3"),
        ("groonga-doc", "usr/share/doc/groonga-doc/ja/html/a.html", b"<div>" * 999, "not a page .*Excessive depth"),
        ("freee-mcp", "package/dist/openapi/minimal/hr.json", b"{", r"hr\.json: not a page of its kind"),
        ("electron-i18n", "package/dist/docs.json", b'{"ja": 1}', r"docs\.json: not a page of its kind"),
    ],
)
def test_a_page_that_is_none_of_its_kind_is_named(tmp_path, package, member, data, message):
    path = make_tar(tmp_path / "a.tgz", {member: data})
    with pytest.raises(TsumugiError, match=message):
        list(READERS["debian_docs"].read([RawFile(str(path), package, "1", "x")], {}))


def test_an_index_that_is_none_is_named(tmp_path):
    path = tmp_path / "a_Translation-ja.gz"
    for content, message in (
        (b"Package: a\n", "stanza 1 has not"),
        (b"Package: a\nDescription-ja: \xff\n", ":2: not UTF"),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(TsumugiError, match=message):
            list(READERS["debian_docs"].read([RawFile(str(path), path.name, None, "x")], {}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give packages, source_packages, npm_packages, pypi_packages or package_descriptions: true"),
        ({"packages": ["a0"], "members": {"b0": ["*"]}}, r"members: b0 is none of the packages \(a0\)"),
        ({"npm_packages": ["electron-i18n"]}, "npm_packages"),
        ({"npm_packages": ["--version@1"]}, "npm_packages"),
        ({"pypi_packages": ["juricode-mcp"]}, "pypi_packages"),
        ({"packages": ["-o"]}, "packages"),
    ],
)
def test_a_config_that_says_too_little_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DebianDocs(reader="debian_docs", **settings)


def test_names_of_the_registries_files():
    assert npm_archive("@a/b@1.0.0") == "a-b-1.0.0.tgz"
    assert wheel_pattern("Juri-code.mcp==0.1.0") == "juri_code_mcp-0.1.0-*.whl"


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"source_packages": ["a0"]}, "apt-get"),
        ({"package_descriptions": True}, "apt-get"),
        ({"npm_packages": ["a0@1"]}, "corpora.own.npm_packages needs npm"),
    ],
)
def test_without_the_programs_the_message_says_what_is_missing(tmp_path, monkeypatch, settings, key):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TsumugiError, match=key):
        READERS["debian_docs"].fetch(DebianDocs(reader="debian_docs", **settings).model_dump(), tmp_path / "d", "own")
