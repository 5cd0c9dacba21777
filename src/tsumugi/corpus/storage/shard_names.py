"""The names of a corpus' shards, in the paths of whatever is made of each."""


def shard_name(shard: int) -> str:
    """The five digits that stand for a shard in file names."""
    return f"{shard:05d}"
