"""Files that are named by their address on the web."""

from pathlib import Path
from urllib.parse import unquote, urlparse


def is_url(file: str) -> bool:
    """Whether it is to be downloaded."""
    return file.startswith(("https://", "http://"))


def name_of(url: str) -> str:
    """The name of the file that a URL leads to."""
    return Path(unquote(urlparse(url).path)).name
