"""Novels as Aozora Bunko writes them: plain text with ruby and notes in it; chapters, cut into pieces."""

import re
from collections.abc import Iterator

from tsumugi.corpus.extract.page import Page

PIECE_CHARACTERS = 2000
_RULE = re.compile(r"^-{20,}$", re.MULTILINE)
_COLOPHON = re.compile(r"^底本：", re.MULTILINE)
_CHAPTER = re.compile(r"^(?:［＃[^］]*字下げ］)?(?P<name>[^［\n]+)［＃「(?P=name)」は[大中小]見出し］$", re.MULTILINE)
_RARE = re.compile(
    r"※［＃[^］]*?(?:(?P<plane>[12])-(?P<row>\d{1,2})-(?P<cell>\d{1,2})|U\+(?P<point>[0-9A-F]{4,6}))[^］]*］"
)
_NOTE = re.compile(r"［＃[^］]*］")
_RUBY = re.compile(r"｜|《[^》]*》")


def extract_aozora(data: bytes) -> list[Page]:
    """The novel in pieces, each titled with the chapter and its number in it; ruby, notes and colophon are left out.

    A piece ends with the paragraph in which it reaches ``PIECE_CHARACTERS``.

    Raises:
        UnicodeDecodeError: the file is not UTF-8.
    """
    source = data.decode("utf-8-sig").replace("\r\n", "\n")
    head, *rest = _RULE.split(source)  # title and author, a box that explains the notation, the text
    title = head.strip().partition("\n")[0]
    body = _COLOPHON.split(rest[-1] if rest else source)[0]
    starts = list(_CHAPTER.finditer(body))
    if not starts:
        return list(_pieces(title, body))
    ends = [start.start() for start in starts[1:]] + [len(body)]
    chapters = [(f"{title} {start['name']}", body[start.end() : end]) for start, end in zip(starts, ends, strict=True)]
    return [piece for name, text in chapters for piece in _pieces(name, text)]


def _pieces(title: str, text: str) -> Iterator[Page]:
    paragraphs, length, number = [], 0, 1
    for line in _plain(text).split("\n"):
        if not (paragraph := line.strip("\u3000 ")):
            continue
        paragraphs.append(paragraph)
        length += len(paragraph)
        if length >= PIECE_CHARACTERS:
            yield Page(f"{title} ({number})", "\n".join(paragraphs), "novel")
            paragraphs, length, number = [], 0, number + 1
    if paragraphs:
        yield Page(f"{title} ({number})", "\n".join(paragraphs), "novel")


def _plain(text: str) -> str:
    return _RUBY.sub("", _NOTE.sub("", _RARE.sub(_rare_character, text)))


def _rare_character(note: re.Match[str]) -> str:
    """The character that a note describes by its place in JIS X 0213 or in Unicode; 〓 if there is none."""
    try:
        if note["point"]:
            return chr(int(note["point"], 16)).encode().decode()
        place = bytes([0xA0 + int(note["row"]), 0xA0 + int(note["cell"])])
        return (b"\x8f" * (note["plane"] == "2") + place).decode("euc_jis_2004")
    except ValueError:
        return "〓"
