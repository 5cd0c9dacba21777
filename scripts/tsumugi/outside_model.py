"""A model that came from outside: a directory, whose files decide what is made from it, or a name on a hub."""

import json
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError

HUB = "hub:"


def source_files(source: str) -> list[Path]:
    """The regular files directly in the directory ``source``, hidden ones left out, by name; none for a hub name.

    Raises:
        TsumugiError: there is no such directory, or it is empty.
    """
    if source.startswith(HUB):
        return []
    folder = Path(source)
    files = sorted(path for path in folder.glob("[!.]*") if path.is_file())
    if not files:
        raise TsumugiError(
            f"{source}: {'holds no files' if folder.is_dir() else 'there is no such directory'}; put a model that "
            "Transformers opens there (paths are meant from the working folder), or correct init_from"
        )
    return files


def hub_commit(source: str) -> str | None:
    """The commit to which a hub name leads now; None for a directory."""
    if not source.startswith(HUB):
        return None
    from transformers.utils.hub import cached_file, extract_commit_hash  # seconds that Snakemake's start need not pay

    try:
        config = cached_file(source.removeprefix(HUB), "config.json")
    except (OSError, ValueError) as error:
        raise TsumugiError(f"{source}: its config.json cannot be read: {error}") from error
    return extract_commit_hash(config, None)


def outside_config(source: str) -> dict[str, Any]:
    """The config.json of a model, for a hub name that in the local cache; empty where none can be read."""
    try:
        if source.startswith(HUB):
            from huggingface_hub import try_to_load_from_cache

            path = Path(str(try_to_load_from_cache(source.removeprefix(HUB), "config.json")))
        else:
            path = Path(source) / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what is wrong with it is said when the model is opened
        return {}
    return config if isinstance(config, dict) else {}
