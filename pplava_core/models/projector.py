"""The two-layer perceptron that turns vision features into the language model's tokens.

Pooling and projector do not commute: a model is only good for the order that it was
trained with. Models trained here pool first (the paper's order); released checkpoints
project first. Knows nothing of how pooling is done: it is handed a function.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

Pool = Callable[[Tensor], Tensor]
"""Anything that shrinks ``(B, T, H, W, D)`` to fewer tokens ``(..., D)``."""


class Projector(nn.Module):
    """Linear, GELU, linear, under the names of the released checkpoints."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(input_size, hidden_size)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(hidden_size, output_size)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``(..., output_size)`` for features ``(..., input_size)``."""
        tokens: Tensor = self.linear_2(self.act(self.linear_1(features)))
        return tokens

    def pool_then_project(self, features: Tensor, pool: Pool) -> Tensor:
        """Project what pooling leaves: the paper's order, and the cheapest."""
        return self.forward(pool(features))

    def project_then_pool(self, features: Tensor, pool: Pool) -> Tensor:
        """Project every patch, then pool: for pooling that is not linear (max, token merging)."""
        return pool(self.forward(features))

    def project_then_weigh(
        self, features: Tensor, pool: Pool, *, weight_sums: Tensor | None = None
    ) -> Tensor:
        """Return what `project_then_pool` would, for linear pooling at a fraction of the cost.

        A weighted sum passes through a linear layer, so the second layer may come after
        the pooling, on far fewer tokens:
        ``pool(linear_2(h)) = W2 @ pool(h) + sum(weights) * b2``.

        Args:
            features: ``(B, T, H, W, input_size)``.
            pool: linear pooling of ``(B, T, H, W, D)`` to ``(..., D)``.
            weight_sums: ``(...)``, the sum of every window's weights; None where all are 1
                (every convex weighting and the plain average).

        Returns:
            ``(..., output_size)``.
        """
        pooled = pool(self.act(self.linear_1(features)))
        if weight_sums is None:
            return F.linear(pooled, self.linear_2.weight, self.linear_2.bias)
        bias = self.linear_2.bias * weight_sums.unsqueeze(-1).to(pooled.dtype)
        return F.linear(pooled, self.linear_2.weight) + bias
