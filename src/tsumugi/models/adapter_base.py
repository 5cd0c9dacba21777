"""What an adapter stands on: recorded beside it by content and place, and found again from any folder.

PEFT's own ``adapter_config.json`` has a path as the training job saw it, from the working folder. Therefore
``adapter/base.json`` says where the base lies from the run's own folder, and which files it was: a folder of results
can be moved or opened from elsewhere, and another model in the old one's place is not taken for it.
"""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tsumugi.atomic import write_json
from tsumugi.errors import TsumugiError
from tsumugi.outside_model import HUB
from tsumugi.provenance import file_sha256, identity, read_manifest

RECORD = "base.json"
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")
DECIDING = ("*.safetensors", "pytorch_model*.bin", "config.json")  # files by which a model answers as it does


def record_base(directory: Path, base: str, opened_from: str) -> None:
    """Write ``adapter/base.json`` of a run.

    Args:
        directory: of the run, or a temporary one in the same place.
        base: a directory, or a hub name without ``hub:``.
        opened_from: the directory that it was read from; of a hub name that in the cache, which has the commit's name.
    """
    snapshot = Path(opened_from)
    in_cache = snapshot.parent.name == "snapshots" and HUB_NAME.fullmatch(base)
    if in_cache or not os.path.isdir(base):
        record: dict[str, Any] = {"hub": base, "commit": snapshot.name if in_cache else None}
    else:
        record = {"path": os.path.relpath(base, directory), "sha256": {p.name: file_sha256(p) for p in _files(base)}}
    write_json(directory / "adapter" / RECORD, record)


def find_base(directory: Path) -> str:
    """The model that the adapter in ``directory/adapter`` stands on: a directory, or ``hub:org/name@commit``.

    Raises:
        TsumugiError: it is nowhere to be found, or what lies there is another one.
    """
    config = _read(directory / "adapter" / "adapter_config.json")
    name = config.get("base_model_name_or_path") or ""
    path = directory / "adapter" / RECORD
    record = _read(path) if path.is_file() else _of_earlier_result(directory, name)
    if "hub" in record:
        return f"{HUB}{record['hub']}" + (f"@{record['commit']}" if record["commit"] else "")
    places = list(dict.fromkeys(os.path.normpath(place) for place in _places(directory, name, record)))
    found = [place for place in places if os.path.isdir(place)]
    if not found and not record and HUB_NAME.fullmatch(name):
        return f"{HUB}{name}"  # of an earlier result, which does not say it
    if not found:
        known = [f"sha256 of its {file}: {sha256}" for file, sha256 in record.get("sha256", {}).items()]
        known += [f"identity of its manifest: {record['identity']}"] if "identity" in record else []
        which = "; ".join(known) or "its hashes are not known"
        raise TsumugiError(
            f"{directory}: holds an adapter alone, and the model that it stands on is not there: {name} ({which}). "
            f"Looked for at {', '.join(places)}; put that model at the first of these places"
        )
    problems = {place: _difference(place, record) for place in found}
    for place, problem in problems.items():
        if problem is None:
            return place
    place, problem = next(iter(problems.items()))
    raise TsumugiError(
        f"{place}: is not the model that the adapter in {directory} was trained on: {problem}. Put that model back, or "
        "train the adapter again"
    )


def _places(directory: Path, name: str, record: dict[str, Any]) -> Iterator[str]:
    """Where the base may lie, likeliest first. A link to the run, or to a part of the way, may lead around it."""
    homes = dict.fromkeys((os.path.abspath(directory), os.path.realpath(directory)))
    if "path" in record:
        yield from (os.path.join(home, record["path"]) for home in homes)
    if name:
        yield os.path.abspath(name)
    if name and not os.path.isabs(name):  # from the working folder of that time, which holds the run somewhere below it
        yield from (os.path.join(above, name) for home in homes for above in Path(home).parents)


def _of_earlier_result(directory: Path, name: str) -> dict[str, Any]:
    """Of a run that has no record: its manifest may name the base's."""
    base = os.path.normpath(name)
    try:
        inputs = read_manifest(directory / "manifest.json")["inputs"]
    except TsumugiError:  # a copy without it: nothing is known
        return {}
    for place in ("manifest.json", "../manifest.json"):  # the second where the base is merged/
        known = inputs.get(os.path.normpath(os.path.join(base, place)))
        if known is not None:
            return {"manifest": place, "identity": known, "folder": base}
    return {}


def _difference(place: str, record: dict[str, Any]) -> str | None:
    """How a model differs from the one that is meant; None: in nothing that is known."""
    wanted = record.get("sha256", {})
    if "identity" in record:
        path = os.path.join(place, record["manifest"])
        try:
            manifest = read_manifest(path)
        except TsumugiError as error:
            return str(error)
        if identity(manifest) != record["identity"]:
            return f"{path} has the identity {identity(manifest)}, not {record['identity']}"
        outputs = {Path(name): described["sha256"] for name, described in manifest["outputs"].items()}
        wanted = {name.name: sha256 for name, sha256 in outputs.items() if name.parent == Path(record["folder"])}
    for file, sha256 in wanted.items():
        path = os.path.join(place, file)
        if not os.path.isfile(path):
            return f"{file} is missing (sha256 {sha256})"
        found = _sha256(path, os.path.getsize(path), os.stat(path).st_mtime_ns)
        if found != sha256:
            return f"{file} has sha256 {found}, not {sha256}"
    return None


@cache
def _sha256(path: str, size: int, changed: int) -> str:
    """Of a file as long as it stays the same; a job asks twice."""
    return file_sha256(path)


def _files(base: str) -> list[Path]:
    return sorted(path for pattern in DECIDING for path in Path(base).glob(pattern))


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except OSError as error:
        raise TsumugiError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TsumugiError(f"{path}: is not JSON ({error})") from error
