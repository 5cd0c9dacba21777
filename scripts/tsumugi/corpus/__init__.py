"""From raw files to clean, split shards: readers, normalizers, filters, deduplication, families, overlap, statistics."""
