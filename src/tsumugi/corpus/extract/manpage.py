"""Manual pages: title from the NAME section, prose from the rest, without macros, code and untranslated paragraphs."""

import re

from tsumugi.corpus.extract.man_macros import ManPage
from tsumugi.corpus.extract.mdoc_macros import MdocPage
from tsumugi.corpus.extract.page import Page

_LINK = re.compile(r"^\.so\s", re.MULTILINE)
_MDOC = re.compile(r"^\.\s*Sh\s", re.MULTILINE)
_DASH = re.compile(r"\s+[-–—―]+\s*|\s*[-–—―]+\s+")


def extract_manual_page(data: bytes, file_name: str) -> Page | None:
    """Title (``name - description``) and prose of a roff source; None for a link to another page and one without prose.

    A link is a page of the one line ``.so``. ``file_name`` (``ls.1.gz``) gives the title where the NAME section says
    nothing.

    Raises:
        UnicodeDecodeError: the source is not UTF-8.
    """
    source = data.decode("utf-8").replace("\r\n", "\n")
    if _LINK.search(source[:2000]) and source.count("\n") < 5:
        return None
    page = MdocPage(source) if _MDOC.search(source) else ManPage(source)
    name, text = page.read().finish()
    if not text:
        return None
    return Page(_title(name, file_name), text)


def _title(name: str, file_name: str) -> str:
    parts = _DASH.split(name, maxsplit=1)
    if len(parts) == 2 and parts[0] and parts[1]:
        return f"{parts[0].strip(' ,')} - {parts[1].strip()}"
    return name or re.sub(r"\.\w+(\.gz)?$", "", file_name)
