"""The optimizer of the seed model: Muon for the matrices inside the layers, AdamW for all other parameters.

Muon (Jordan et al., 2024) orthogonalises the momentum of each matrix. `torch.optim.Muon` does it in bfloat16, which
most CPUs only emulate; this one stays in float32 and orthogonalises matrices of one shape together.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOMENTUM = 0.95
ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon:
    """Updates matrices by their orthogonalised momentum, scaled so that a rate suited to AdamW suits it too."""

    def __init__(self, matrices: "Iterable[Tensor]", weight_decay: float = 0.01) -> None:
        import torch

        self._weight_decay = weight_decay
        by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            by_shape[tuple(matrix.shape)].append(matrix)
        self._groups = [(group, torch.zeros(len(group), *shape)) for shape, group in by_shape.items()]

    def step(self, learning_rate: float) -> None:
        """One update of every matrix from its gradient, which is then cleared."""
        import torch

        with torch.no_grad():
            for matrices, momentum in self._groups:
                gradient = torch.stack([matrix.grad for matrix in matrices])
                momentum.lerp_(gradient, 1 - MOMENTUM)
                update = _orthogonal(gradient.lerp_(momentum, MOMENTUM))
                scale = 0.2 * max(momentum.shape[1:]) ** 0.5
                for matrix, change in zip(matrices, update, strict=True):
                    matrix.mul_(1 - learning_rate * self._weight_decay).add_(change, alpha=-learning_rate * scale)
                    matrix.grad = None


def _orthogonal(matrices: "Tensor") -> "Tensor":
    """Newton-Schulz iteration: the nearest orthogonal matrices, roughly; shape (count, rows, columns)."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
