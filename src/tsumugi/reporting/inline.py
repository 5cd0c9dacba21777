"""SVG files as parts of a page: no identifiers shared between pictures, colours that follow the page."""

import re

from lxml import etree

from tsumugi.reporting.figures import INK, PAPER

LINK = "{http://www.w3.org/1999/xlink}href"
REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(svg: str, prefix: str, label: str) -> str:
    """``svg`` without header and metadata, identifiers prefixed, sized by the page, ``label`` for screen readers.

    Raises:
        lxml.etree.XMLSyntaxError: not an SVG file of ours.
    """
    root = etree.fromstring(
        svg.encode(), etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    )
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, prefix + value)
            elif name in (LINK, "href") and value.startswith("#"):
                element.set(name, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(name, REFERENCE.sub(rf"url(#{prefix}\1)", value))
    width = root.get("width", "").removesuffix("pt")
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    if width:
        root.set("style", f"max-width:{float(width) * 4 / 3:.0f}px")
    root.set("role", "img")
    root.set("aria-label", label)
    text = etree.tostring(root, encoding="unicode")
    return re.sub(PAPER, "none", re.sub(INK, "currentColor", text, flags=re.I), flags=re.I)
