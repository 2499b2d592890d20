"""The tables' way into their document."""

import sys
from pathlib import Path


def replace_table(document: Path, name: str, table: str) -> None:
    """Put the table between the marks `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises ValueError if the document does not have them.
    """
    text = document.read_text()
    start, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{document} has no marks for the table {name}")
    document.write_text(f"{before}{start}\n{table}\n{end}{after}")


def tell(text: str) -> None:
    """What goes on, to stderr: the table alone goes to stdout."""
    print(text, file=sys.stderr)
