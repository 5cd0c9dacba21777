"""The prose of a page in MediaWiki's markup: mwparserfromhell knows the markup, here is what counts as prose."""

import re

import mwparserfromhell
from mwparserfromhell.nodes import Node, Tag, Wikilink
from mwparserfromhell.wikicode import Wikicode

# Namespaces of what is shown beside the text, in Japanese and English; a link with a colon before it is text.
BESIDE = ("ファイル", "画像", "file", "image", "カテゴリ", "category")
NO_PROSE = {"ref", "references", "table", "gallery", "math", "timeline", "score", "syntaxhighlight", "source"}
_BLANK_LINES = re.compile(r"\n\s*\n+")
_HEADING = re.compile(r"^ ?(.*?) ?$", re.MULTILINE)


def extract_wikitext(markup: str) -> str:
    """Paragraphs, headings and list items, a line each; no templates, tables, references, pictures or categories."""
    code = mwparserfromhell.parse(markup, skip_style_tags=True)
    _remove(code)
    text = code.strip_code(normalize=True, collapse=True)
    return _HEADING.sub(r"\1", _BLANK_LINES.sub("\n", text.replace("'''", "").replace("''", ""))).strip()


def _remove(code: Wikicode) -> None:
    """Take out, at every depth, what is no prose."""
    for node in list(code.nodes):
        if _is_no_prose(node):
            code.remove(node)
        elif isinstance(node, Tag) and node.contents is not None:
            _remove(node.contents)


def _is_no_prose(node: Node) -> bool:
    if isinstance(node, Wikilink):
        return str(node.title).partition(":")[0].strip().lower() in BESIDE
    return isinstance(node, Tag) and str(node.tag).strip().lower() in NO_PROSE
