"""Encodings that pass as UTF-8 because they are written in ASCII: ISO-2022 and UTF-7."""

import re

# ISO 2022: what designates a set of characters. "ESC ( B" alone says nothing: terminals write it too.
_DESIGNATION = re.compile(r"\x1b(?:\$[@AB]|\$[(-/][0-~]|\([HIJ]|[.\-][A-Z])|\x0e[!-~]+\x0f")
_SHIFTED = re.compile(r"\+([A-Za-z0-9+/]{3,})(?![A-Za-z0-9+/])")
_KANA = re.compile("[\u3041-\u30ff]")
# Letters and digits of ASCII stand for themselves; a backslash, and what else is not safe in mail, does not.
_NOT_SHIFTED = re.compile(r"[^\s!-/:-@\[-`{-~\u2010-\u2026\u3000-\u30ff\u4e00-\u9fff\uff01-\uff9f]")


def foreign_encoding(text: str) -> str | None:
    """The encoding that a text is in though it was read as UTF-8; None where there is no sign of one.

    Of ISO-2022, the Japanese form is named, whatever its language.
    """
    if ("\x1b" in text or "\x0e" in text) and _DESIGNATION.search(text):
        return "ISO-2022-JP"
    return "UTF-7" if text.isascii() and "+" in text and _is_utf7(text) else None


def _is_utf7(text: str) -> bool:
    """Whether all that stands between + and - is Japanese, with kana in it (RFC 2152)."""
    runs = [f"+{run}-" for run in _SHIFTED.findall(text)]
    try:
        decoded = "".join(run.encode().decode("utf-7") for run in runs)
    except UnicodeDecodeError:
        return False
    return bool(_KANA.search(decoded)) and not _NOT_SHIFTED.search(decoded)
