"""Whether an output can be written, asked before the hours that it takes to make it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from tsumugi.errors import TsumugiError


def refuse_unwritable(path: Path, *, folder: bool = False) -> None:
    """Make the folder that ``path`` will lie in, and try to write there.

    Args:
        folder: whether the output is a folder, and not a file.

    Raises:
        TsumugiError: nothing can be written there, or something of the other sort stands in its place.
    """
    if path.exists() and path.is_dir() != folder:
        raise TsumugiError(f"{path}: is {'no' if folder else 'a'} folder; remove it, or choose another --output")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent) as tried:
            (Path(tried) / "file").write_bytes(b"")
    except OSError as error:
        raise TsumugiError(
            f"{path}: cannot be written ({error.strerror}: {error.filename or path.parent}); nothing was computed. "
            "Choose another --output, or fix the permissions"
        ) from None
