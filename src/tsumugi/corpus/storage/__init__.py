"""Raw files as streams, shards as Parquet, and the documents between them."""
