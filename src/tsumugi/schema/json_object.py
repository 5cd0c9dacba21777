"""Read the small JSON files beside the models and datasets of others."""

import json
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError


def read_json_object(path: Path, advice: str = "") -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is no such file.

    Args:
        advice: what the user can do about a damaged file; it ends the error message.

    Raises:
        TsumugiError: the file is not JSON, or holds something else than an object.
    """
    if not path.is_file():
        return {}
    ending = f"; {advice}" if advice else ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one too
        raise TsumugiError(f"{path}: is not JSON ({error}){ending}") from None
    if not isinstance(content, dict):
        raise TsumugiError(f"{path}: is no JSON object but a {type(content).__name__}{ending}")
    return content
