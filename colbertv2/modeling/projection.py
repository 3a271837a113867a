"""The projection of token vectors as a module of torch."""

from collections.abc import Sequence

from torch import Tensor, nn

from colbertv2.checkpoints.projection import Dense


class DenseLayer(nn.Module):
    """A trainable :class:`~colbertv2.checkpoints.projection.Dense`, in fp32."""

    def __init__(self, layer: Dense):
        super().__init__()
        self.linear = linear(layer.weight, layer.bias)
        self.activation: nn.Module = getattr(nn, layer.activation)()
        self.add_input = layer.add_input
        self.residual = None if layer.residual is None else linear(layer.residual)
        self.gate = None if layer.gate is None else linear(layer.gate, layer.gate_bias)

    def forward(self, states: Tensor) -> Tensor:
        """Map ``[…, inputs]`` to ``[…, outputs]``."""
        mapped = self.linear(states)
        mapped = self.activation(mapped) if self.gate is None else self.activation(self.gate(states)) * mapped
        if self.add_input:
            return mapped + (states if self.residual is None else self.residual(states))
        return mapped

    def stored(self) -> Dense:
        """Its present weights, on the CPU."""

        def kept(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.detach().cpu().contiguous()

        weight = kept(self.linear.weight)
        assert weight is not None
        return Dense(
            weight,
            kept(self.linear.bias),
            type(self.activation).__name__,
            self.add_input,
            None if self.residual is None else kept(self.residual.weight),
            None if self.gate is None else kept(self.gate.weight),
            None if self.gate is None else kept(self.gate.bias),
        )


class ProjectionLayers(nn.Sequential):
    """All layers of a projection, one after the other.

    Args:
        layers: at least one layer, whose sizes fit each other.

    >>> import torch
    >>> from colbertv2.checkpoints.projection import Dense
    >>> ProjectionLayers([Dense(torch.eye(2), torch.ones(2), "ReLU")])(torch.tensor([-3.0, 1.0]))
    tensor([0., 2.], grad_fn=<ReluBackward0>)
    """

    def __init__(self, layers: Sequence[Dense]):
        super().__init__(*map(DenseLayer, layers))

    @property
    def layers(self) -> list[DenseLayer]:
        """The layers, first one first."""
        return [layer for layer in self if isinstance(layer, DenseLayer)]

    @property
    def inputs(self) -> int:
        """Number of dimensions that it reads."""
        return self.layers[0].linear.in_features

    @property
    def outputs(self) -> int:
        """Number of dimensions that it writes."""
        return self.layers[-1].linear.out_features

    @property
    def weight(self) -> Tensor:
        """The weight of the last layer, ``[dim, inputs]``; of the only one in ColBERT."""
        return self.layers[-1].linear.weight

    def stored(self) -> tuple[Dense, ...]:
        """The present weights of all layers, on the CPU."""
        return tuple(layer.stored() for layer in self.layers)


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Return a linear layer with a copy of these weights, in fp32."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().float().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().float().clone())
    return layer
