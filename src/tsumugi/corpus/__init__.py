"""From raw files to clean, split shards: readers, normalizers, filters, duplicates, families, overlap, statistics."""
