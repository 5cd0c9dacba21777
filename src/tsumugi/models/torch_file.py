"""Files of ``torch.save``: checked before they are opened, and written tensor by tensor.

What is written need not be in memory all at once.
"""

import io
import pickle
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tsumugi.errors import TsumugiError

_STORAGES = {torch.float32: "FloatStorage", torch.float16: "HalfStorage", torch.bfloat16: "BFloat16Storage"}
_PIECE_BYTES = 1 << 20


def check_archive(path: Path) -> None:
    """Compare every part of a zip archive with its checksum, which PyTorch does not do; 0 is one that was not computed.

    Raises:
        TsumugiError: the archive is damaged, or holds a program.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise TsumugiError(
                    f"{path}: refused, nothing was run: it is a TorchScript file (torch.jit.save), which holds a "
                    "program; ask its maker for a file of weights alone"
                )
            for part in archive.infolist():
                if part.CRC:
                    with archive.open(part) as file:
                        while file.read(_PIECE_BYTES):
                            pass
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise no_torch_file(path, str(error) or "cut off") from error


def no_torch_file(path: Path, reason: str) -> TsumugiError:
    """What to say of a file that ``torch.load`` could not make sense of."""
    return TsumugiError(f"{path}: is no file of torch.save, or is damaged ({reason}); download or copy it again")


@dataclass(frozen=True)
class Entry:
    """A tensor of the file. ``make`` is called when its turn comes; entries of one ``make`` are stored once."""

    shape: torch.Size
    dtype: torch.dtype
    make: Callable[[], torch.Tensor]


def save_tensors(entries: Mapping[str, Entry], path: Path) -> None:
    """Write what ``torch.save`` of a dict of these tensors writes; each is dropped before the next one is made."""
    keys = {make: str(number) for number, make in enumerate(dict.fromkeys(entry.make for entry in entries.values()))}
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump({name: _Tensor(entry, keys[entry.make]) for name, entry in entries.items()})
    # PyTorch's own writer, as torch.save uses it: it aligns each tensor, so that the file can be mapped
    with torch.serialization._open_zipfile_writer(str(path)) as file:
        for name, content in {"data.pkl": buffer.getvalue(), "byteorder": sys.byteorder.encode()}.items():
            file.write_record(name, content, len(content))
        for make, key in keys.items():
            storage = _alone(make()).untyped_storage()
            file.write_record(f"data/{key}", storage, storage.nbytes())
            del storage  # before the next one is made


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """In memory that holds nothing else: a storage is written as a whole."""
    tensor = tensor.cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    elements: int


@dataclass(frozen=True)
class _Tensor:
    entry: Entry
    key: str

    def __reduce__(self) -> tuple[Any, ...]:
        shape = self.entry.shape
        storage = _Storage(self.entry.dtype, self.key, shape.numel())
        stride = torch.empty(shape, device="meta").stride()
        return torch._utils._rebuild_tensor_v2, (storage, 0, tuple(shape), stride, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:  # as torch.save names what lies beside the pickle
        if isinstance(value, _Storage):
            return "storage", getattr(torch, _STORAGES[value.dtype]), value.key, "cpu", value.elements
        return None
