"""How many files a job may have open: one for each shard, which can be more than a shell allows by default."""

import resource

from tsumugi.errors import TsumugiError


def allow_open_files(wanted: int) -> None:
    """Raise this process's limit.

    Raises:
        TsumugiError: it may not be raised so far.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise TsumugiError(
            f"{wanted:,} files must be open at once, this machine allows {hard:,} (ulimit -Hn); raise that, or give "
            "the corpus fewer num_shards"
        )
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
