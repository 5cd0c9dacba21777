"""A model that came from outside: a directory, whose files decide what is made from it, or a name on a hub."""

from pathlib import Path

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
