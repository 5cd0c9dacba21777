"""Files from the web: resumed where they were cut off, and kept only with the hash that the config pins."""

import os
from pathlib import Path

import requests

from tsumugi.atomic import named_if_full
from tsumugi.corpus.sources.addresses import name_of
from tsumugi.errors import TsumugiError
from tsumugi.provenance import file_sha256

BLOCK_BYTES = 2**16  # what is lost when a connection breaks is less than one
PATIENCE_SECONDS = 60  # without a byte
ATTEMPTS = 5  # one after another that bring nothing


def download(url: str, folder: Path, sha256: str) -> Path:
    """The file of ``url`` in ``folder``; one that is there with this hash is not fetched again.

    What has come so far lies in ``{name}.part``: a later call goes on from there.

    Raises:
        TsumugiError: it cannot be fetched, or what came has another hash, or the disk is full.
    """
    path = folder / name_of(url)
    if path.exists():
        if (found := file_sha256(path)) != sha256:
            raise TsumugiError(f"{path}: its sha256 is {found}, but {sha256} is pinned; delete it, or correct the pin")
        return path
    part = path.with_name(path.name + ".part")
    with named_if_full(path, kept=f"what has come so far is kept in {part}"):
        folder.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, path)
    if (found := file_sha256(part)) != sha256:
        part.unlink()
        raise TsumugiError(f"{url}: its sha256 is {found}, but {sha256} is pinned; nothing is kept of it")
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path, path: Path) -> None:
    """Fetch until all has come, going on where the connection broke."""
    in_vain = 0
    while True:
        have = _size(part)
        try:
            return _fetch_rest(url, part, have)
        except requests.RequestException as error:
            in_vain = 0 if _size(part) > have else in_vain + 1
            if in_vain == ATTEMPTS or _is_final(error):
                raise TsumugiError(
                    f"{url}: cannot be fetched ({error}); what has come so far is kept in {part}. Run it again, or put "
                    f"the file there as {path}"
                ) from None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_rest(url: str, part: Path, have: int) -> None:
    """Append what is missing to ``part``; from the beginning, if the server cannot begin in the middle."""
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=PATIENCE_SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:  # it was whole; the hash will say
            return
        answer.raise_for_status()
        resumed = answer.status_code == requests.codes.partial_content
        with part.open("ab" if resumed else "wb") as file:
            for block in answer.iter_content(BLOCK_BYTES):
                file.write(block)


def _is_final(error: requests.RequestException) -> bool:
    """Whether another attempt would find the same: the server answered, and said no."""
    return error.response is not None and 400 <= error.response.status_code < 500
