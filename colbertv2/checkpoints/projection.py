"""The projection of token vectors: linear layers after the encoder, as checkpoints store them.

ColBERT has one plain linear layer (ColBERTv2 §3.1). Models of PyLate and sentence-transformers may have several, with
biases, activations and residual connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colbertv2.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

# Class names in torch.nn with their default arguments. No name from a file is ever imported.
ACTIVATIONS = ("Identity", "ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "ELU", "LeakyReLU", "Mish", "Softplus")


@dataclass(frozen=True)
class Dense:
    """One layer: ``activation(weight · x + bias)``, plus ``residual · x`` or ``x`` with a residual connection.

    With a gate it is ``activation(gate · x + gate_bias) * (weight · x + bias)``, a gated linear unit (Shazeer 2020,
    arXiv:2002.05202), plus the same residual connection.

    Args:
        weight: ``[outputs, inputs]``, in the stored dtype.
        bias: ``[outputs]``, or ``None`` for none.
        activation: one of :data:`ACTIVATIONS`.
        add_input: whether there is a residual connection.
        residual: its weight ``[outputs, inputs]``; ``None`` if inputs and outputs have the same size, or if there is no
            residual connection.
        gate: ``[outputs, inputs]``, or ``None`` for no gate.
        gate_bias: ``[outputs]``, or ``None`` for none.

    Raises:
        InputError: a tensor has another shape than the others demand, or the activation is unknown.

    >>> import torch
    >>> Dense(torch.eye(2)).plain
    True
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: str = "Identity"
    add_input: bool = False
    residual: Tensor | None = None
    gate: Tensor | None = None
    gate_bias: Tensor | None = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or not self.weight.numel():
            raise InputError(f"A projection's weight is {list(self.weight.shape)}; expected [outputs, inputs].")
        shape = list(self.weight.shape)
        if self.bias is not None and list(self.bias.shape) != shape[:1]:
            raise InputError(f"A projection's bias is {list(self.bias.shape)}; expected {shape[:1]}.")
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"A projection's activation is {self.activation!r}; expected one of {', '.join(ACTIVATIONS)}."
            )
        wanted = shape if self.add_input and shape[0] != shape[1] else None
        found = None if self.residual is None else list(self.residual.shape)
        if wanted != found:
            raise InputError(
                f"The weight of a projection's residual connection is {found or 'missing'}; expected "
                f"{wanted or 'none'}."
            )
        if self.gate is not None and list(self.gate.shape) != shape:
            raise InputError(f"A projection's gate is {list(self.gate.shape)}; expected {shape}, as its weight.")
        if self.gate_bias is not None and (self.gate is None or list(self.gate_bias.shape) != shape[:1]):
            raise InputError(
                f"The bias of a projection's gate is {list(self.gate_bias.shape)}; expected {shape[:1]} and a gate."
            )

    def __str__(self) -> str:
        gate = " gate" if self.gate is not None else ""
        bias = ", bias" if self.bias is not None else ""
        residual = ", residual" if self.add_input else ""
        return f"{self.inputs} × {self.outputs} ({self.activation}{gate}{bias}{residual})"

    @property
    def inputs(self) -> int:
        """Number of dimensions that it reads."""
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        """Number of dimensions that it writes."""
        return self.weight.shape[0]

    @property
    def plain(self) -> bool:
        """Whether it is only a matrix, as in ColBERT."""
        return self.bias is None and self.activation == "Identity" and not self.add_input and self.gate is None

    def sliced(self, dim: int) -> Dense:
        """This layer with only its first ``dim`` outputs, ``dim`` at most ``outputs``.

        >>> import torch
        >>> str(Dense(torch.eye(3), torch.zeros(3), add_input=True).sliced(2))
        '3 × 2 (Identity, bias, residual)'
        """
        if dim == self.outputs:
            return self
        residual = self.residual
        if self.add_input and residual is None:  # then it is the identity
            import torch

            residual = torch.eye(self.inputs, dtype=self.weight.dtype)

        def kept(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor[:dim].clone()

        return Dense(
            self.weight[:dim].clone(),
            kept(self.bias),
            self.activation,
            self.add_input,
            kept(residual),
            kept(self.gate),
            kept(self.gate_bias),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors under the names that sentence-transformers gives them; it has none for a gate's."""
        named = {
            "linear.weight": self.weight,
            "linear.bias": self.bias,
            "residual.weight": self.residual,
            "gate.weight": self.gate,
            "gate.bias": self.gate_bias,
        }
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def check_chain(projection: Sequence[Dense], hidden: int) -> None:
    """Check that the layers fit the encoder and each other.

    Args:
        projection: the layers, first one first.
        hidden: number of dimensions of the encoder's states.

    Raises:
        InputError: there is no layer, or a layer reads another number of dimensions than it gets.
    """
    if not projection:
        raise InputError("The checkpoint has no projection; expected at least one linear layer.")
    for number, layer in enumerate(projection, 1):
        if layer.inputs != hidden:
            before = "the encoder's hidden size is" if number == 1 else f"layer {number - 1} gives"
            raise InputError(
                f"Layer {number} of the projection is {list(layer.weight.shape)}; expected [dim, {hidden}], as "
                f"{before} {hidden}."
            )
        hidden = layer.outputs


def is_plain(projection: Sequence[Dense]) -> bool:
    """Whether the projection is one matrix without bias, as in ColBERT."""
    return len(projection) == 1 and projection[0].plain


def named_tensors(projection: Sequence[Dense]) -> Iterator[tuple[str, Tensor]]:
    """Yield all tensors with names such as ``0.linear.weight``; only ``linear.weight`` for a plain projection."""
    for number, layer in enumerate(projection):
        for name, tensor in layer.tensors().items():
            yield name if is_plain(projection) else f"{number}.{name}", tensor
