"""What a reader yields and a shard holds: one document."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_as_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode  # one for all documents: half the time


@dataclass(frozen=True, slots=True)
class Document:
    """A text and what is known about it. ``source`` names where it stands (a file, or a member of a package)."""

    text: str
    title: str
    category: str
    source: str
    licence: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """128-bit hash of source and text as they were read, in 32 hex digits: no setting moves it."""
        return self._id(self.text.encode())

    def _id(self, data: bytes) -> str:
        return hashlib.blake2b(f"{self.source}\0".encode() + data, digest_size=16).hexdigest()

    def row(self) -> dict[str, Any]:
        """The document as a row of a shard; the text in UTF-8, which is what Arrow stores."""
        data = self.text.encode()
        return {
            "id": self._id(data),
            "text": data,
            "title": self.title,
            "category": self.category,
            "source": self.source,
            "licence": self.licence,
            "meta": _as_json(dict(self.meta)),
        }


def shard_of(document_id: str, num_shards: int) -> int:
    """The shard in which a document lies: its id modulo the number of shards."""
    return int(document_id, 16) % num_shards
