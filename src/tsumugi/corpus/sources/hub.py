"""Datasets of the Hugging Face hub: the Parquet files of one split, all of one commit, in the corpus's data folder.

What was chosen is recorded beside the files, in ``hub.json``: the commit, and the name, size and hash of each file. A
later call asks the hub for what is missing, of the same commit; where nothing is, it asks nothing. To follow the hub to
a newer commit, delete that file, or pin the commit as ``revision``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from tsumugi.atomic import named_if_full, write_json
from tsumugi.corpus.sources.hub_layout import DEFAULT, Splits, declared_splits, named_splits
from tsumugi.corpus.storage.raw_file import RawFile
from tsumugi.errors import TsumugiError, first_line
from tsumugi.provenance import file_sha256

RECORD = "hub.json"
CONVERTED = "refs/convert/parquet"  # where the hub keeps its own conversion of what is in another format
PATIENCE_SECONDS = 60
CHOICE = ("name", "config", "revision", "part")


def fetch_from_hub(spec: Mapping[str, Any], folder: Path, corpus: str) -> list[RawFile]:
    """The Parquet files of the split ``part`` of the dataset ``name``, in their order; version is the commit.

    A file that has come whole is kept, whatever becomes of the others. ``HF_TOKEN`` and ``HF_ENDPOINT`` are heeded.

    Raises:
        TsumugiError: there is no such dataset, revision, config or split, no Parquet of it, or no way to the hub; or
            what came is not what the hub announced.
    """
    key = f"corpora.{corpus}"
    choice: dict[str, Any] = {part: spec.get(part) for part in CHOICE}
    record = _read_record(folder / RECORD)
    if record is None or record["choice"] != choice:
        with _said_to_the_user(choice, key):
            record = {"choice": choice, **_look_up(choice, key)}
        write_json(folder / RECORD, record)
    for file in record["files"]:
        with _said_to_the_user(choice, key):
            _bring(choice["name"], record["commit"], file, folder)
    licence = spec["licence"] if spec["licence"] != "unknown" else record["licence"]
    return [RawFile(str(folder / file["path"]), file["path"], record["commit"], licence) for file in record["files"]]


def _look_up(choice: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Commit, licence and files of the split that the config chooses."""
    revision = choice["revision"]
    commit, card, files = _listing(choice["name"], revision)
    splits = declared_splits(card.get("configs"), list(files)) or named_splits(list(files))
    if not splits and revision is None:
        revision = CONVERTED
        commit, _, files = _listing(choice["name"], revision)
        splits = named_splits(list(files))
    if not splits:
        raise TsumugiError(
            f"{key}.revision: {revision} of the dataset {choice['name']} holds no Parquet whose names tell the splits; "
            f"the hub's own conversion is {CONVERTED}, without a revision it is taken"
        )
    licence = card.get("license") or "unknown"
    return {
        "commit": commit,
        "licence": licence if isinstance(licence, str) else ", ".join(licence),
        "files": [files[path] for path in _chosen(splits, choice, key)],
    }


def _listing(name: str, revision: str | None) -> tuple[str, Mapping[str, Any], dict[str, dict[str, Any]]]:
    """Commit, head of the card, and the files by their paths, of a revision; None: the main branch."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    info = api.dataset_info(name, revision=revision, timeout=PATIENCE_SECONDS)
    files: dict[str, dict[str, Any]] = {}
    for entry in api.list_repo_tree(name, recursive=True, revision=info.sha, repo_type="dataset"):
        if isinstance(entry, RepoFile):
            if ".." in PurePosixPath(entry.path).parts or entry.path.startswith("/"):
                raise TsumugiError(f"dataset {name}: the file {entry.path!r} leads out of the repository")
            sha256 = entry.lfs.sha256 if entry.lfs else None
            files[entry.path] = {"path": entry.path, "bytes": entry.size, "sha256": sha256}
    assert info.sha is not None, "the hub tells the commit of a dataset"
    return info.sha, info.card_data.to_dict() if info.card_data else {}, files


def _chosen(splits: Splits, choice: Mapping[str, Any], key: str) -> list[str]:
    """The files of config and split; where no config is named, of ``default`` or of the only one."""
    config = choice["config"]
    if config is None:
        config = next(iter(splits)) if len(splits) == 1 else DEFAULT
    if config not in splits:
        found = "no config is named" if choice["config"] is None else f"{config!r} is no config of {choice['name']}"
        raise TsumugiError(f"{key}.config: {found}; as Parquet it has {', '.join(splits)}")
    if choice["part"] not in splits[config]:
        partial = any(split.startswith("partial-") for split in splits[config])
        note = "; of partial-… the hub has converted the beginning only" if partial else ""
        raise TsumugiError(
            f"{key}.part: {choice['part']!r} is no split of {choice['name']}, config {config}; as Parquet it has "
            f"{', '.join(splits[config])}{note}"
        )
    return splits[config][choice["part"]]


def _bring(name: str, commit: str, file: Mapping[str, Any], folder: Path) -> None:
    """Fetch one file that is not here, or not whole; a connection that breaks is taken up again where it broke."""
    from huggingface_hub import hf_hub_download

    path = folder / file["path"]
    if path.is_file() and _is_announced(path, file):
        return
    path.unlink(missing_ok=True)  # huggingface_hub takes a file that is there for a whole one
    with named_if_full(path):
        hf_hub_download(name, file["path"], repo_type="dataset", revision=commit, local_dir=folder)
    if not _is_announced(path, file):
        found = f"{path.stat().st_size:,} bytes with the sha256 {file_sha256(path)} came"
        path.unlink()
        raise TsumugiError(
            f"{path}: {found}, where the hub announced {file['bytes']:,} with {file['sha256']}; nothing is kept of it. "
            "Run it again"
        )


def _is_announced(path: Path, file: Mapping[str, Any]) -> bool:
    """Whether size and hash are those of the listing; the hub has no SHA-256 of what lies in git itself."""
    return path.stat().st_size == file["bytes"] and file["sha256"] in (None, file_sha256(path))


@contextmanager
def _said_to_the_user(choice: Mapping[str, Any], key: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into a message for the user."""
    import httpx2
    from huggingface_hub import constants, errors

    dataset = f"the dataset {choice['name']!r}"
    try:
        yield
    except errors.GatedRepoError:
        raise TsumugiError(
            f"{key}.name: {dataset} asks for consent; give it on its page, and set HF_TOKEN to a token of yours"
        ) from None
    except errors.RepositoryNotFoundError:
        raise TsumugiError(
            f"{key}.name: there is no dataset {choice['name']!r} at {constants.ENDPOINT}, or it is private; correct "
            "the name, or set HF_TOKEN"
        ) from None
    except errors.RevisionNotFoundError:
        if choice["revision"] is None:
            found = f"{dataset} holds no Parquet whose names tell the splits, and the hub has not converted it"
            raise TsumugiError(f"{key}.name: {found}; save it with save_to_disk and give its folder") from None
        raise TsumugiError(f"{key}.revision: {dataset} has no revision {choice['revision']!r}") from None
    except errors.HFValidationError as error:
        raise TsumugiError(f"{key}.name: {error}") from None
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise TsumugiError(
            f"{key}.name: {dataset} cannot be fetched from {constants.ENDPOINT} ({first_line(error)}); the files "
            "that have come are kept. Run it again where there is a network"
        ) from None


def _read_record(path: Path) -> dict[str, Any] | None:
    """What an earlier call chose; None if there was none."""
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise TsumugiError(f"{path}: malformed JSON ({error}); delete it, and the hub is asked anew") from None
