"""Exact and near duplicates over all shards: hashes, MinHash, Jaccard similarity, groups."""
