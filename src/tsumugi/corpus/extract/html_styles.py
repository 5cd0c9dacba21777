"""How programs that make manuals write their HTML: DocBook's style sheets, Sphinx, texi2html, SiSU; and bare HTML."""

from dataclasses import replace

from tsumugi.corpus.extract.html_sections import HtmlStyle

DOCBOOK = HtmlStyle(
    body="//body",
    skipped=frozenset(
        {
            *("navheader", "navfooter", "docnav", "banner", "toc", "lot", "list-of-figures"),
            *(
                "list-of-tables",
                "list-of-examples",
                "indexterm",
                "index",
                "figure",
                "example",
                "mediaobject",
                "footnote",
            ),
            *("literallayout", "authorgroup", "author", "othercredit", "copyright", "revhistory", "pubdate"),
        }
    ),
    asides=frozenset({"note", "tip", "warning", "important", "caution", "sidebar"}),
)
DOCBOOK_PAGE = replace(DOCBOOK, cut=False)  # short pages, whose sections have the same headings everywhere

SPHINX = HtmlStyle(
    body="//*[@role='main']",
    skipped=frozenset(
        {"headerlink", "toctree-wrapper", "contents", "highlight", "footnote-reference", "admonition-title", "math"}
    ),
    asides=frozenset({"admonition"}),
)

TEXINFO = HtmlStyle(
    body="//*[@id='main']",
    skipped=frozenset({"nav_table", "menu", "toc", "contents", "shortcontents", "footer", "languages", "footnote"}),
)

# Each paragraph lies in a box beside its number; a section's heading is a bold paragraph.
SISU = HtmlStyle(
    body="//div[@class='substance']",
    skipped=frozenset({"ocn", "tiny", "code", "endnote"}),
    headings=frozenset({"bold"}),
)

BARE = HtmlStyle(body="//body", skipped=frozenset())
BARE_PAGE = replace(BARE, cut=False)
