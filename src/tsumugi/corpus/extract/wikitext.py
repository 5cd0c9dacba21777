"""The prose of a page in MediaWiki's markup: mwparserfromhell knows the markup, here is what counts as prose."""

import re

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, Node, Tag, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

# Namespaces of what is shown beside the text, in Japanese and English; a link with a colon before it is text.
BESIDE = ("ファイル", "画像", "file", "image", "カテゴリ", "category")
NO_PROSE = {
    *("ref", "references", "table", "gallery", "math", "timeline", "score", "syntaxhighlight", "source", "includeonly"),
    *("chem", "ce", "hiero", "imagemap", "graph", "mapframe", "maplink", "inputbox", "categorytree", "templatestyles"),
}
AS_WRITTEN = {"nowiki", "pre"}  # in these, markup is text
BREAKS = {"br", "hr"}
BLOCKS = {
    *("p", "div", "blockquote", "center", "pre", "poem", "ul", "ol", "li", "dl", "dt", "dd"),
    *("h1", "h2", "h3", "h4", "h5", "h6"),
}
# Behavior switches, in English and Japanese (languages/messages/MessagesJa.php). Some have the names that Python has
# for its methods (__index__), but those in small letters; others of the same form are the C preprocessor's (__FILE__).
_SWITCHES = re.compile(
    r"(?:__|＿＿)(?:(?i:NOTOC|FORCETOC|TOC|NOGALLERY|NOEDITSECTION|NOHEADER|NOTITLECONVERT|NOTC|NOCONTENTCONVERT|NOCC)|"
    "NEWSECTIONLINK|NONEWSECTIONLINK|HIDDENCAT|EXPECTUNUSEDCATEGORY|EXPECTUNUSEDTEMPLATE|EXPECTED_UNCONNECTED_PAGE|"
    "INDEX|NOINDEX|STATICREDIRECT|NOGLOBAL|DISAMBIG|ARCHIVEDTALK|NOTALK|目次非表示|目次強制|目次|ギャラリー非表示|節編集非表示|"
    "セクション編集非表示|見出し非表示|新しい節リンク|新しい節リンク非表示|新セクションリンク|"
    "新セクションリンク非表示|隠しカテゴリ|インデックス|インデックス拒否|二重転送解消無効|曖昧さ回避)(?:__|＿＿)"
)
# What no parser makes an element of: a tag that nothing closes.
_SINGLE_TAG = re.compile(rf"</?(?:{'|'.join((*BREAKS, *BLOCKS))})(?:[\s/][^<>]*)?>", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n+")
_HEADING = re.compile(r"^ ?(.*?) ?$", re.MULTILINE)


def extract_wikitext(markup: str) -> str:
    """Paragraphs, headings and list items, a line each; no templates, tables, references, pictures or categories."""
    code = mwparserfromhell.parse(markup, skip_style_tags=True)
    _tidy(code)
    text = code.strip_code(normalize=True, collapse=True)
    return _HEADING.sub(r"\1", _BLANK_LINES.sub("\n", text.replace("'''", "").replace("''", ""))).strip()


def _tidy(code: Wikicode) -> None:
    """Take out, at every depth, what is no prose, and break lines where the page does."""
    nodes: list[Node] = []
    for node in code.nodes:
        if _is_no_prose(node):
            continue
        name = _name(node)
        if isinstance(node, Text):
            node = Text(_SINGLE_TAG.sub("\n", _SWITCHES.sub("", str(node))))
        elif name not in AS_WRITTEN:
            for inner in _parts(node):
                _tidy(inner)
        if name in BREAKS:
            nodes.append(Text("\n"))
        elif isinstance(node, Tag) and name in BLOCKS and not node.wiki_markup:  # an item of "*" has a line of its own
            nodes += [Text("\n"), node, Text("\n")]
        else:
            nodes.append(node)
    code.nodes = nodes


def _parts(node: Node) -> list[Wikicode]:
    """What is shown of a node."""
    shown = {Tag: "contents", Wikilink: "text", ExternalLink: "title", Heading: "title"}.get(type(node))
    part = getattr(node, shown) if shown else None
    return [] if part is None else [part]


def _name(node: Node) -> str:
    return str(node.tag).strip().lower() if isinstance(node, Tag) else ""


def _is_no_prose(node: Node) -> bool:
    if isinstance(node, Wikilink):
        return str(node.title).partition(":")[0].strip().lower() in BESIDE
    return _name(node) in NO_PROSE
