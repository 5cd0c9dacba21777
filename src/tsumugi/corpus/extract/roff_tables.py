"""The tbl(1) preprocessor, as far as its rows go: which cell stands beside which."""


class TableRows:
    """Fed with the lines between ``.TS`` and ``.TE``, escapes already shown; collects rows, cells joined by commas."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self.in_format = True
        self._separator = "\t"
        self._cells: list[str] = []
        self._block: list[str] | None = None  # lines of a cell between "T{" and "T}"

    def line(self, line: str) -> None:
        """One more line: of options and formats until a line ends with a full stop, then of data."""
        if self.in_format:
            if "tab(" in line.replace(" ", ""):
                self._separator = line.replace(" ", "").split("tab(", 1)[1][:1] or "\t"
            self.in_format = not line.rstrip().endswith(".")
        elif self._block is None:
            self._data(line)
        elif line.startswith("T}"):
            self._cells.append(" ".join(self._block))
            self._block = None
            self._data(line[2:].removeprefix(self._separator))
        else:
            self._block.append(line)

    def _data(self, line: str) -> None:
        cells = line.split(self._separator)
        if cells[-1].strip() == "T{":
            self._cells += cells[:-1]
            self._block = []
            return
        shown = [cell.strip() for cell in [*self._cells, *cells] if cell.strip() not in {"", "_", "="}]
        self._cells = []
        if shown:
            self.rows.append("、".join(shown))
