"""The columns of a shard."""

import pyarrow as pa

SHARD_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "title", "category", "source", "licence", "meta")]
)
