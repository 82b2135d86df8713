"""The one error that a faulty outcome table raises."""

from __future__ import annotations


class TableError(ValueError):
    """An outcome table is damaged, inconsistent or does not fit; names place and remedy.

    Parameters
    ----------
    place
        The file, and the row or cell in it, for example ``"outcomes.parquet, query 'q7'"``.
    fault
        What is wrong there, without a full stop.
    remedy
        What the reader can do about it, without a full stop.
    """

    def __init__(self, place: str, fault: str, remedy: str) -> None:
        super().__init__(f"{place}: {fault}; {remedy}.")
        self.place, self.fault, self.remedy = place, fault, remedy

    def __reduce__(self) -> tuple[type[TableError], tuple[str, str, str]]:
        """Rebuild from the three parts, so that worker processes can raise it."""
        return TableError, (self.place, self.fault, self.remedy)
