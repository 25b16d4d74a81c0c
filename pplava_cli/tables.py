"""Tables for people: aligned columns as lines of plain text."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Sequence

from pplava_cli.console import is_terminal

_WIDE = 250
"Columns where nobody looks at a screen: lines are never broken for a pipe."


def table_lines(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[str] = ()
) -> list[str]:
    """Lay rows out under their headers, as wide as the terminal allows.

    Args:
        headers: one a column; the first column is never broken.
        rows: as many texts each as there are headers.
        numbers: headers of columns that are set flush right.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, header in enumerate(headers):
        table.add_column(
            header, no_wrap=index == 0, justify="right" if header in numbers else "left"
        )
    for row in rows:
        table.add_row(*row)
    sheet = io.StringIO()
    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else _WIDE
    Console(file=sheet, width=width, color_system=None, markup=False).print(table)
    return [line.rstrip() for line in sheet.getvalue().splitlines()]
