"""Where pages lie in packages, how they are read, and under which licence they are.

Another package that one of the formats suits is a line here.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from tsumugi.corpus.extract.aozora import extract_aozora
from tsumugi.corpus.extract.electron import extract_electron
from tsumugi.corpus.extract.html_sections import HtmlStyle, extract_sections
from tsumugi.corpus.extract.html_styles import DOCBOOK, DOCBOOK_PAGE, SISU, SPHINX, TEXINFO
from tsumugi.corpus.extract.libreoffice import extract_help_page
from tsumugi.corpus.extract.mallard import extract_mallard
from tsumugi.corpus.extract.manpage import extract_manual_page
from tsumugi.corpus.extract.openapi import extract_openapi
from tsumugi.corpus.extract.page import Page

VARIOUS, MPL = "various, DFSG-free (see package copyright)", "MPL-2.0"
LICENCES = {  # of the pages of a package, or of all packages whose names begin so; VARIOUS where none is named
    "apt-doc": "GPL-2+",
    "aptitude-doc": "GPL-2+",
    "debian-edu-doc": "GPL-2+",
    "debian-faq": "free with this notice (see package copyright)",
    "debian-handbook": "GPL-2+ or CC-BY-SA-3.0",
    "debian-policy": "GPL-2+",
    "debian-reference": "GPL-2+",
    "developers-reference": "GPL-2",
    "electron-i18n": "MIT",
    "freee-mcp": "Apache-2.0",
    "gimp-help": "GFDL-1.2+",
    "gnome-user-docs": "CC-BY-SA-3.0",
    "gnucash-docs": "GFDL-1.1+",
    "groonga-doc": "LGPL-2.1",
    "installation-guide": "GPL-2",
    "juricode-mcp": "AGPL-3+; each text its own",
    "libreoffice-help": MPL,
    "lilypond-doc": "GFDL-1.3+",
    "live-manual": "GPL-3+",
    "maint-guide": "GPL-2+",
    "sentencepiece": "public domain",
}
_PARENT = re.compile(rb'<link rel="up" href="(?!index\.)([^"#]+)\.html"')

Extract = Callable[[bytes, str], Iterable[Page]]


@dataclass(frozen=True)
class Pages:
    """The pages of a kind.

    Attributes:
        place: ``package:member``; a group ``category`` gives the category of those that do not say it themselves.
        extract: from the bytes of a member and its file name.
        licence: where it is that of the format, whatever package it lies in.
    """

    place: re.Pattern[str]
    extract: Extract
    licence: str | None = None


def licence_of(package: str) -> str:
    """The licence of a package's pages."""
    return next((licence for name, licence in LICENCES.items() if package.startswith(name)), VARIOUS)


def _manual(data: bytes, file: str) -> list[Page]:
    page = extract_manual_page(data, file)
    return [page] if page else []


def _help(data: bytes, _: str) -> list[Page]:
    page = extract_help_page(data)
    return [page] if page else []


def _mallard(data: bytes, _: str) -> list[Page]:
    page = extract_mallard(data)
    return [page] if page else []


def _whole(extract: Callable[[bytes], Iterable[Page]]) -> Extract:
    return lambda data, _: extract(data)


def _html(style: HtmlStyle) -> Extract:
    return lambda data, _: extract_sections(data, style)


def _html_of_chapters(style: HtmlStyle) -> Extract:
    """HTML whose category is the page above it: its chapter."""

    def extract(data: bytes, file: str) -> list[Page]:
        parent = _PARENT.search(data)
        chapter = parent[1].decode() if parent else PurePosixPath(file).stem
        return [replace(page, category=chapter) for page in extract_sections(data, style)]

    return extract


def _pages(place: str, extract: Extract, licence: str | None = None) -> Pages:
    return Pages(re.compile(place), extract, licence)


DOC = "usr/share/doc"
PAGES = (
    # any package
    _pages(r"[^:]+:usr/share/man/ja/(?P<category>man[1-9])/[^/]+", _manual),
    _pages(r"[^:]+:usr/share/libreoffice/help/ja/text/(?P<category>[^/]+)/.+\.html", _help, MPL),
    _pages(r"[^:]+:usr/share/help/ja/[^/]+/[^/]+\.page", _mallard),
    # Debian's manuals
    _pages(rf"(?P<category>apt)-doc:{DOC}/apt-doc/[^/]+\.ja\.html/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>aptitude)-doc-ja:{DOC}/aptitude/html/ja/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>debian-edu)-doc-ja:{DOC}/debian-edu-doc-ja/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>debian-faq)-ja:{DOC}/debian/FAQ/ja/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>debian-handbook):{DOC}/debian-handbook/html/ja-JP/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>debian-policy)-ja:{DOC}/debian-policy/ja/policy\.html/[^/]+\.html", _html(SPHINX)),
    _pages(r"(?P<category>debian-reference)-ja:usr/share/debian-reference/[^/]+\.ja\.html", _html(DOCBOOK)),
    _pages(r"(?P<category>developers-reference)-ja:usr/share/developers-reference/ja/[^/]+\.html", _html(SPHINX)),
    _pages(rf"(?P<category>installation-guide)-[^:]+:{DOC}/[^/]+/ja/[^/]+\.html", _html(DOCBOOK)),
    _pages(rf"(?P<category>live-manual)-html:{DOC}/live-manual/html/live-manual/[^/]+\.ja\.html", _html(SISU)),
    _pages(rf"(?P<category>maint-guide)-ja:{DOC}/maint-guide-ja/html/[^/]+\.html", _html(DOCBOOK)),
    # other manuals
    _pages(r"gimp-help-ja:usr/share/gimp/[^/]+/help/ja/[^/]+\.html", _html_of_chapters(DOCBOOK_PAGE)),
    _pages(rf"gnucash-docs:{DOC}/gnucash-docs/gnucash-guide-ja/[^/]+\.html", _html_of_chapters(DOCBOOK)),
    _pages(rf"groonga-doc:{DOC}/groonga-doc/ja/html/(?:(?P<category>[^/]+)/.+|[^/]+)\.html", _html(SPHINX)),
    _pages(
        rf"lilypond-doc-html-ja:{DOC}/lilypond/html/Documentation/(?P<category>[^/]+)/[^/]+\.ja\.html", _html(TEXINFO)
    ),
    # source packages, and packages of npm
    _pages(r"sentencepiece:[^/]+/data/wagahaiwa_nekodearu\.txt", _whole(extract_aozora)),
    _pages(r"electron-i18n:package/dist/docs\.json", _whole(extract_electron)),
    _pages(r"freee-mcp:package/dist/openapi/minimal/(?P<category>[^/]+)\.json", _whole(extract_openapi)),
)
