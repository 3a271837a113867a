"""The shape of a projection: one linear layer, or more than one, with gates and residual connections; or a pooling too.

Clavié et al. 2025 ("Simple Projection Variants Improve ColBERT Performance", arXiv:2510.12327) compare deeper
feed-forward heads, GLU blocks and skip connections with ColBERT's linear layer. They find that a larger intermediate
size and residual connections matter most.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Interval

from colbertv2.checkpoints.projection import Dense
from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, checked

if TYPE_CHECKING:
    from torch import Generator, Tensor

Activation = Literal["Identity", "ReLU", "GELU", "SiLU", "Sigmoid"]  # classes of torch.nn
SMALL = 0.1  # factor of the random weights beside those that a pooling starts with


class Head(ABC):
    """The layers between the backbone's hidden states and the token vectors, before training."""

    @abstractmethod
    def layers(self, hidden: int, dim: int, start: Tensor | None, generator: Generator) -> tuple[Dense, ...]:
        """Return the layers of an untrained head.

        Args:
            hidden: the backbone's hidden size.
            dim: number of dimensions of a token vector.
            start: a matrix ``[dim, hidden]``; the head maps every state x to ``start`` · x. ``None`` draws all weights
                as torch does for a linear layer, as PyLate does too.
            generator: draws the random weights.
        """

    def problems(self, hidden: int, dim: int, starts: bool) -> Iterator[str]:
        """Yield the reasons why :meth:`layers` can't make such a head.

        Args:
            hidden, dim: see :meth:`layers`.
            starts: whether it starts as a given matrix.
        """
        yield from ()

    def vectors_per_document(self) -> int | None:
        """The number of vectors of every document; ``None`` if each token has one."""
        return None

    def pooling(self, positions: int, starts: bool, generator: Generator) -> Tensor | None:
        """Return the untrained weight ``[vectors_per_document, positions]`` of a pooling; ``None`` if there is none.

        Args:
            positions: tokens of the longest document.
            starts: as for :meth:`problems`.
            generator: draws the random weights.
        """
        return None


@dataclass(frozen=True)
class LinearHead(Head):
    """One linear layer without bias, as in ColBERT (ColBERTv2 §3.1)."""

    def layers(self, hidden: int, dim: int, start: Tensor | None, generator: Generator) -> tuple[Dense, ...]:
        return (Dense(drawn(dim, hidden, generator) if start is None else start),)


@checked
@dataclass(frozen=True)
class ConstantHead(LinearHead):
    """One linear layer, and a fixed number of vectors per document, as in ConstBERT (arXiv:2504.01818).

    A second linear layer, over the positions of tokens, maps the projected vectors of a document's tokens to
    ``num_vectors`` vectors, which are then scaled to length 1 (MacAvaney et al. 2025). It is trained with all other
    weights. Queries have one vector per token. See :class:`~colbertv2.modeling.learned_pooling.LearnedPooling`.

    A head that starts as a given matrix divides the positions into runs of equal length, and each vector starts as the
    mean of its run. Small random weights are added, so that no vector of a short document is zero. Otherwise all
    weights are random.

    Args:
        num_vectors: vectors of every document, fewer than the tokens of the longest one.

    Raises:
        InputError: the number is out of range.

    >>> import torch
    >>> head = ConstantHead(num_vectors=2)
    >>> weight = head.pooling(positions=6, starts=True, generator=torch.Generator().manual_seed(0))
    >>> (weight > 0.2).int().tolist()
    [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    """

    num_vectors: PositiveInt

    def vectors_per_document(self) -> int | None:
        return self.num_vectors

    def pooling(self, positions: int, starts: bool, generator: Generator) -> Tensor | None:
        import torch

        weight = drawn(self.num_vectors, positions, generator)
        if starts:
            weight *= SMALL
            for row, run in zip(weight, torch.arange(positions).tensor_split(self.num_vectors), strict=True):
                row[run] += 1 / len(run)
        return weight


@checked
@dataclass(frozen=True)
class FeedForwardHead(Head):
    """Several layers: all but the last have an activation, and maybe a gate and a residual connection.

    A hidden layer maps x to ``activation(W x + b)``. With ``gated`` it is a gated linear unit (Shazeer 2020,
    arXiv:2002.05202): ``activation(G x + c) * (W x + b)``. With ``residual``, ``R x`` is added, or x itself where the
    sizes are equal, as in the Dense layers of PyLate (its pull request 166). The last layer is linear.

    A head that starts as a given matrix computes exactly that matrix before training. With residual connections they
    carry it. Without them, two units carry each dimension, since ``activation(u) - activation(-u) = u`` for ReLU, GELU
    and SiLU. All other units are random, and the last layer ignores them at first, so they learn from the start.

    Args:
        factor: size of the hidden layers, as a multiple of the backbone's hidden size.
        depth: number of layers, the last one included.
        activation: name of a class of ``torch.nn``; ``Sigmoid`` only with ``gated``.
        gated: whether hidden layers are gated linear units.
        residual: whether hidden layers have residual connections.
        bias: whether layers have biases.

    Raises:
        InputError: a value is out of range, or ``Sigmoid`` has no gate.

    >>> import torch
    >>> head = FeedForwardHead(factor=2.0, depth=2, activation="GELU", gated=False, residual=True, bias=False)
    >>> layers = head.layers(hidden=8, dim=4, start=torch.eye(4, 8), generator=torch.Generator())
    >>> " → ".join(map(str, layers))
    '8 × 16 (GELU, residual) → 16 × 4 (Identity)'
    """

    factor: Annotated[float, Interval(gt=0, le=64)]
    depth: Annotated[int, Interval(ge=2, le=16)]
    activation: Activation
    gated: bool
    residual: bool
    bias: bool

    def __post_init__(self) -> None:
        if self.activation == "Sigmoid" and not self.gated:
            raise InputError("head.activation is Sigmoid, which is for gates only; choose another, or head.gated=true.")

    def units(self, hidden: int) -> int:
        """Number of units of a hidden layer."""
        return round(self.factor * hidden)

    def problems(self, hidden: int, dim: int, starts: bool) -> Iterator[str]:
        size = self.units(hidden)
        if abs(size - self.factor * hidden) > 1e-6:
            yield (
                f"head.factor is {self.factor:g}; times the backbone's hidden size {hidden} it is "
                f"{self.factor * hidden:g}, expected a whole number."
            )
            return
        pairs = starts and not self.residual and self.activation != "Identity"
        if size < (least := 2 * dim if pairs else dim):
            why = f"; without residual connections, two units carry each of the {dim}" if pairs else ""
            yield (
                f"head.factor is {self.factor:g}, so hidden layers have {size} units; expected at least {least} for "
                f"{dim} dimensions{why}. Raise it, or lower model.dim."
            )
        if starts and self.gated and not self.residual:
            yield (
                "head.gated is true and head.residual false: such a head can't start as the projection. Set "
                "head.residual=true, or model.projection=linear for random weights."
            )
        if starts and self.residual and not self.gated and self.activation == "ReLU" and size == hidden:
            yield (
                "head.factor is 1 with ReLU and residual connections: a layer that starts as the projection would "
                "never learn. Choose another factor or activation, or model.projection=linear for random weights."
            )

    def layers(self, hidden: int, dim: int, start: Tensor | None, generator: Generator) -> tuple[Dense, ...]:
        built, inputs, last = [], hidden, start
        for _ in range(self.depth - 1):
            layer = self.drawn_layer(inputs, self.units(hidden), generator)
            last = None if last is None else self.carry(layer, last)
            built.append(layer)
            inputs = layer.outputs
        bias = drawn(dim, inputs, generator)[:, 0].contiguous() if self.bias else None
        if last is None:
            return (*built, Dense(drawn(dim, inputs, generator), bias))
        return (*built, Dense(last, None if bias is None else bias * 0))

    def drawn_layer(self, inputs: int, outputs: int, generator: Generator) -> Dense:
        """Return a hidden layer with random weights."""

        def vector() -> Tensor:
            return drawn(outputs, inputs, generator)[:, 0].contiguous()

        return Dense(
            drawn(outputs, inputs, generator),
            vector() if self.bias else None,
            self.activation,
            self.residual,
            drawn(outputs, inputs, generator) if self.residual and inputs != outputs else None,
            drawn(outputs, inputs, generator) if self.gated else None,
            vector() if self.bias and self.gated else None,
        )

    def carry(self, layer: Dense, last: Tensor) -> Tensor:
        """Change a hidden layer in place such that it can carry a matrix.

        Args:
            layer: the layer, with random weights.
            last: ``[dim, inputs]``.

        Returns:
            ``[dim, outputs]``, with which the changed layer maps every x to ``last`` · x.
        """
        import torch

        dim, size = len(last), layer.outputs
        for bias in (layer.bias, layer.gate_bias):
            if bias is not None:
                bias.zero_()
        if self.residual and layer.residual is None:  # x itself is added
            layer.weight[last.any(0)] = 0  # the units that the next layer reads
            return last
        if self.residual:
            assert layer.residual is not None
            layer.weight[:dim] = 0
            layer.residual[:dim] = last
            return torch.eye(dim, size)
        layer.weight[:dim] = last
        if self.activation == "Identity":
            return torch.eye(dim, size)
        layer.weight[dim : 2 * dim] = -last
        return torch.eye(dim, size) - torch.eye(dim, size).roll(dim, 1)


def drawn(outputs: int, inputs: int, generator: Generator) -> Tensor:
    """Return ``[outputs, inputs]``, drawn as torch initialises a linear layer: evenly from ±1 / √inputs."""
    import torch

    bound = inputs**-0.5
    return torch.empty(outputs, inputs).uniform_(-bound, bound, generator=generator)
