"""More positions for a text tower that was trained with few: Eq. 4 of the paper.

CLIP reads 77 tokens and SigLIP 64; users write more. The table of positions is stretched:
asymmetrically as in the paper, or in one of the two ways that it is compared with.
Knows tables only, no model.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pplava_core.errors import ShapeError, UsageError

EXTENSIONS = ("asymmetric", "linear", "random")
"The ways to stretch a table; see `extend_positions`."


def extend_positions(
    table: Tensor,
    *,
    kept: int = 20,
    factor: int = 4,
    how: str = "asymmetric",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Stretch a table of position embeddings from ``L`` to ``kept + factor * (L - kept)`` rows.

    With the defaults 77 rows become 248 and 64 become 196 (Eq. 4).

    * ``asymmetric``: the first ``kept`` rows, well trained because most texts are short,
      stay as they are; after them every old step becomes ``factor`` small ones, and the last
      one goes on in the direction of the step before it.
    * ``linear``: the whole table is stretched evenly, ends onto ends.
    * ``random``: all old rows stay; the new ones are normal noise as wide as the table.

    Args:
        table: ``(L, D)``.
        kept: rows that ``asymmetric`` leaves alone.
        factor: new rows for each old one beyond them.
        how: one of `EXTENSIONS`.
        generator: for ``random``.

    Returns:
        ``(kept + factor * (L - kept), D)``, dtype and device of ``table``.

    Raises:
        ShapeError: the table has fewer than two rows or none beyond ``kept``.
        UsageError: an unknown way, or a factor less than 1.
    """
    if how not in EXTENSIONS:
        raise UsageError(f"no context extension is called {how!r}; choose {', '.join(EXTENSIONS)}")
    if factor < 1 or kept < 0:
        raise UsageError(f"kept={kept} and factor={factor} do not extend; try kept=20, factor=4")
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[0] <= kept:
        raise ShapeError(
            f"a position table of {tuple(table.shape)} has no rows to stretch beyond the "
            f"first {kept}; give (L, D) with L > {max(kept, 1)}"
        )
    old = table.shape[0]
    new = kept + factor * (old - kept)
    if how == "random":
        noise = torch.randn(
            new - old, table.shape[1], generator=generator, dtype=table.dtype, device=table.device
        )
        return torch.cat([table, noise * table.std()])
    index = torch.arange(new, device=table.device, dtype=torch.float64)
    if how == "linear":
        places = index * ((old - 1) / (new - 1))
    else:
        places = torch.where(index < kept, index, kept + (index - kept) / factor)
    return _rows_at(table, places)


def _rows_at(table: Tensor, places: Tensor) -> Tensor:
    """Read a table between its rows; past its end the last step goes on."""
    lower = places.floor().long().clamp(max=table.shape[0] - 2)
    share = (places - lower).to(table.dtype).unsqueeze(-1)
    return (1 - share) * table[lower] + share * table[lower + 1]
