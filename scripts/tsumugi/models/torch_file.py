"""Files of ``torch.save`` that are written tensor by tensor: what goes in need not be in memory all at once."""

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

_STORAGES = {torch.float32: "FloatStorage", torch.float16: "HalfStorage", torch.bfloat16: "BFloat16Storage"}


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
