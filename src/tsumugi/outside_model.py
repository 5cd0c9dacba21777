"""A model that came from outside: a directory, whose files decide what is made from it, or a name on a hub."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsumugi.errors import TsumugiError, first_line
from tsumugi.schema.json_object import read_json_object

HUB = "hub:"
CONFIG = "config.json"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
VOCABULARIES = (
    *("tokenizer.json", "spiece.model", "tokenizer.model", "spm.model", "sentencepiece.bpe.model", "source.spm"),
    *("vocab.txt", "vocab.json", "rwkv_vocab_v20230424.txt"),
)
WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")  # classes whose tokens are bytes
FOR_PEOPLE = re.compile(r".*\.(md|rst|pdf|png|jpe?g)\Z|(README|LICEN[CS]E|NOTICE|COPYING)\b", re.IGNORECASE)
TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.spm", "*.jinja")
_LFS = b"version https://git-lfs"


def source_files(source: str) -> list[Path]:
    """The regular files directly in the directory ``source``, by name; none for a hub name.

    Hidden ones are left out, and what only people read: a note that is added there has no model trained again.

    Raises:
        TsumugiError: there is no such directory, or it is empty.
    """
    if source.startswith(HUB):
        return []
    folder = Path(source)
    files = sorted(path for path in folder.glob("[!.]*") if path.is_file() and not FOR_PEOPLE.match(path.name))
    if not files:
        raise TsumugiError(
            f"{source}: {'holds no files' if folder.is_dir() else 'there is no such directory'}; put a model that "
            "Transformers opens there (paths are meant from the working folder), or correct init_from"
        )
    return files


def check_files(folder: Path) -> None:
    """Look whether there is all that a model consists of; by the files' names alone, so before any job runs.

    Raises:
        TsumugiError: there is no config.json, no vocabulary or no weights, a file is a pointer of Git LFS, or it is the
            folder of an adapter.
    """
    adapters = (folder / "adapter_config.json", folder / "adapter/adapter_config.json")
    if any(path.is_file() for path in adapters):  # Transformers would open what it stands on, by PEFT's path to it
        raise TsumugiError(
            f"{folder}: holds an adapter of PEFT and no whole model; scripts/merge_adapter.py makes one of a run, "
            "merge_and_unload() of another adapter"
        )
    if not (folder / CONFIG).is_file():
        raise TsumugiError(f"{folder}: holds no {CONFIG}, which says what kind of model this is")
    class_name = read_json_object(folder / "tokenizer_config.json").get("tokenizer_class")
    if class_name not in WITHOUT_VOCABULARY and not any((folder / name).is_file() for name in VOCABULARIES):
        raise TsumugiError(
            f"{folder}: holds no vocabulary (none of {', '.join(VOCABULARIES)}); copy the tokenizer's files there too"
        )
    weights = weight_files(folder)
    for path in [*weights, *(folder / name for name in VOCABULARIES if (folder / name).is_file())]:
        refuse_pointer(path)


def weight_files(folder: Path) -> list[Path]:
    """Safetensors where there are any, else PyTorch's pickles: one file, or the parts that an index names.

    Raises:
        TsumugiError: there are none, or a part is missing.
    """
    for single, index in (SAFETENSORS, PICKLES):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            parts = read_json_object(folder / index).get("weight_map", {})
            if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts.values()):
                raise TsumugiError(f"{folder / index}: its weight_map gives no file for each weight; take a fresh copy")
            names = sorted(set(parts.values()))
            missing = [name for name in names if not (folder / name).is_file()]
            if missing or not names:
                raise TsumugiError(f"{folder / index}: names {missing[0] if names else 'no files'}, which is not there")
            return [folder / name for name in names]
    raise TsumugiError(f"{folder}: holds no weights ({' or '.join(pair[0] for pair in (SAFETENSORS, PICKLES))})")


def refuse_pointer(path: Path) -> None:
    """TsumugiError if ``path`` is what Git leaves in place of a large file that it did not fetch."""
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise TsumugiError(f"{path}: is a pointer of Git LFS, not the file itself; fetch it with `git lfs pull`")


def local_folder(source: str, patterns: Sequence[str], what: str) -> Path:
    """Where the files of ``source`` lie on this machine; those of a hub name are fetched or found in the cache.

    Args:
        source: a directory, ``hub:org/name``, or of a commit ``hub:org/name@commit``.
        patterns: names of the files that are wanted, with wildcards.
        what: what is to be opened, for errors.

    Raises:
        TsumugiError: there is no such directory, or no such name on the hub and in the cache.
    """
    if not source.startswith(HUB):
        if not Path(source).is_dir():
            raise TsumugiError(f"{what} {source}: there is no such directory (a hub name begins with hub:)")
        return Path(source)
    from huggingface_hub import snapshot_download  # seconds that Snakemake's start need not pay

    name, commit = _name_and_commit(source)
    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(patterns)))
    except Exception as error:  # of many kinds: no network, no such name, no access
        raise TsumugiError(
            f"{what} {source}: cannot be fetched ({first_line(error)}); a hub name needs a network or a filled "
            "cache (HF_HOME)"
        ) from error


def _name_and_commit(source: str) -> tuple[str, str | None]:
    """What stands in a hub name."""
    name, _, commit = source.removeprefix(HUB).partition("@")
    return name, commit or None


def at_commit(source: str, commit: str | None) -> str:
    """The same hub name at ``commit``; with None, a directory's, ``source`` itself."""
    return source if commit is None else f"{HUB}{_name_and_commit(source)[0]}@{commit}"


def hub_commit(source: str) -> str | None:
    """The commit to which a hub name leads now; None for a directory."""
    if not source.startswith(HUB):
        return None
    from transformers.utils.hub import cached_file, extract_commit_hash  # seconds that Snakemake's start need not pay

    name, commit = _name_and_commit(source)
    try:
        config = cached_file(name, CONFIG, revision=commit)
    except (OSError, ValueError) as error:
        raise TsumugiError(f"{source}: its {CONFIG} cannot be read: {error}") from error
    return extract_commit_hash(config, None)


def outside_config(source: str) -> dict[str, Any]:
    """The config.json of a model, for a hub name that in the local cache; empty where none can be read."""
    try:
        if source.startswith(HUB):
            from huggingface_hub import try_to_load_from_cache

            name, commit = _name_and_commit(source)
            path = Path(str(try_to_load_from_cache(name, CONFIG, revision=commit)))
        else:
            path = Path(source) / CONFIG
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what is wrong with it is said when the model is opened
        return {}
    return config if isinstance(config, dict) else {}
