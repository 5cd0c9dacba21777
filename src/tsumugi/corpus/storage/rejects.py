"""The records of a corpus that became no documents: in a table, counted, and refused where they are too many."""

from collections import Counter

import pyarrow as pa

from tsumugi.corpus.storage.parquet import RowWriter
from tsumugi.corpus.storage.rejected_record import MALFORMED, Rejected
from tsumugi.errors import TsumugiError

NAMED = 5  # malformed records in the message where there are too many
REJECTED_SCHEMA = pa.schema([(name, pa.string()) for name in ("place", "reason", "detail", "sample")])


class Rejects:
    """What was rejected so far.

    Attributes:
        counts: reason -> records.
    """

    def __init__(self, table: RowWriter, allowed: float) -> None:
        """``allowed``: the share of all records that may be malformed; 0: not one."""
        self._table, self._allowed = table, allowed
        self._first: list[str] = []
        self.counts: Counter[str] = Counter()

    def add(self, record: Rejected) -> None:
        """Write a record into the table.

        Raises:
            TsumugiError: it is malformed, and none may be.
        """
        if record.reason == MALFORMED:
            if not self._allowed:
                raise TsumugiError(
                    f"{record}. To go on without such records, set bad_records to the share there may be"
                )
            if len(self._first) < NAMED:
                self._first.append(str(record))
        self.counts[record.reason] += 1
        row = {"place": record.place, "reason": record.reason, "detail": record.detail, "sample": record.sample}
        self._table.write(row, size=1024)

    def check(self, documents: int) -> None:
        """To be called at the end, with the number of documents.

        Raises:
            TsumugiError: more records than allowed were malformed.
        """
        bad, total = self.counts[MALFORMED], documents + self.counts.total()
        if bad > self._allowed * total:
            raise TsumugiError(
                f"{bad:,} of {total:,} records are malformed, a share of {bad / total:.2g}, where bad_records allows "
                f"{self._allowed:g}; the first of them: {'; '.join(self._first)}"
            )
