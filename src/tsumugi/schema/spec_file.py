"""Specs: the part of the configuration that decides one job's result, as a JSON file."""

from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError
from tsumugi.schema.strict_json import parse_json


def read_spec(path: str | Path, *keys: str) -> dict[str, Any]:
    """Read a spec and check that it has ``keys``.

    Raises:
        TsumugiError: no file, no JSON object, or a key is missing.
    """
    try:
        spec = parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TsumugiError(f"{path}: the spec cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise TsumugiError(f"{path}: not JSON ({error})") from None
    except TsumugiError as error:
        raise TsumugiError(f"{path}: {error}") from None
    if not isinstance(spec, dict):
        raise TsumugiError(f"{path}: a spec is a JSON object, found {type(spec).__name__}")
    for key in keys:
        if key not in spec:
            raise TsumugiError(f"{path}: the key {key!r} is missing (found: {', '.join(spec) or 'none'})")
    return spec
