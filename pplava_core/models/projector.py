"""The two-layer perceptron that turns vision features into the language model's tokens.

Pooling and projector do not commute: a model is only good for the order that it was
trained with. Models trained here pool first (the paper's order); released checkpoints
project first. Knows nothing of how pooling is done: it is handed a function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
        return last_layer(self, pool(before_last_layer(self, features)), weight_sums)


def before_last_layer(projector: Any, features: Tensor) -> Tensor:
    """Apply all of a projector but its last layer.

    Args:
        projector: a `Projector`, or transformers' of the same two layers, perhaps behind a
            layernorm.
        features: ``(..., input_size)``.

    Returns:
        ``(..., hidden_size)``.
    """
    if hasattr(projector, "layer_norm"):
        features = projector.layer_norm(features)
    hidden: Tensor = projector.act(projector.linear_1(features))
    return hidden


def last_layer(projector: Any, hidden: Tensor, weight_sums: Tensor | None = None) -> Tensor:
    """Apply a projector's last layer to what linear pooling left of its hidden features.

    Args:
        projector: as in `before_last_layer`.
        hidden: ``(..., hidden_size)``.
        weight_sums: ``(...)``, the sum of every window's weights; None where all are 1.

    Returns:
        ``(..., output_size)``.
    """
    layer = projector.linear_2
    if weight_sums is None or layer.bias is None:
        tokens: Tensor = layer(hidden)
        return tokens
    bias = layer.bias * weight_sums.unsqueeze(-1).to(hidden.dtype)
    weighed: Tensor = F.linear(hidden, layer.weight) + bias
    return weighed
