"""LoRA: train low-rank updates of an encoder's matrices instead of the matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from colbertv2.errors import InputError
from colbertv2.files import read_json
from colbertv2.schema import PositiveInt, Scale, Text, checked

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from colbertv2.modeling.backbone import Backbone


def all_weights() -> None:
    """No updates: all weights are trained. The choice ``none`` of the group ``lora``."""


@checked
@dataclass(frozen=True)
class LoRA:
    """Train ``W + alpha / rank · B A`` in place of an encoder's matrices W (Hu et al. 2021, arXiv:2106.09685).

    A is ``[rank, inputs]`` and random at first, B is ``[outputs, rank]`` and zero at first. Of the encoder, only these
    are trained; the projection of ColBERT and the classifier of a cross-encoder are trained as usual. At the end each W
    becomes the sum, so that the checkpoint is an ordinary one. The library peft provides the layers.

    Args:
        rank: rank of an update.
        alpha: an update is scaled by alpha / rank.
        dropout: probability of a dropout before A, in training only.
        target_modules: last names of the linear layers that get an update, such as ``query`` and ``value``; ``None`` is
            all linear layers of the encoder.

    Raises:
        InputError: a value is out of range, or ``target_modules`` is empty.
    """

    rank: PositiveInt
    alpha: Scale
    dropout: Annotated[float, Interval(ge=0, lt=1)]
    target_modules: Sequence[Text] | None

    def __post_init__(self) -> None:
        if self.target_modules is not None and not self.target_modules:
            raise InputError("lora.target_modules is empty; name at least one linear layer, or null for all.")

    def lacks(self) -> Iterator[str]:
        """Say what the training needs and this machine lacks."""
        if find_spec("peft") is None:
            yield "lora needs the package peft; run: pip install 'colbertv2[lora]'"

    def problems(self, backbone: Backbone | None) -> Iterator[str]:
        """Yield the reason why an encoder can't get these updates, before any work; nothing if it is not known."""
        from colbertv2.checkpoints.checkpoint import empty_encoder

        if backbone is None or self.target_modules is None:
            return
        try:
            self.targets(empty_encoder(read_json(backbone.directory / "config.json")))
        except InputError as error:
            yield str(error)

    def targets(self, encoder: nn.Module) -> list[str]:
        """The names of the layers of ``encoder`` that get an update.

        Raises:
            InputError: the encoder has no linear layer of a name in ``target_modules``.
        """
        from torch.nn import Linear

        names = [name for name, module in encoder.named_modules() if isinstance(module, Linear)]
        if self.target_modules is None:
            return names
        ends = {name.rpartition(".")[2] for name in names}
        if unknown := [name for name in self.target_modules if name not in ends]:
            raise InputError(
                f"lora.target_modules names {unknown[0]!r}, but the encoder's linear layers are called "
                f"{', '.join(sorted(ends))}."
            )
        return [name for name in names if name.rpartition(".")[2] in self.target_modules]

    def add(self, transformer: PreTrainedModel, seed: int) -> None:
        """Add updates to the layers of an encoder, in place, and freeze its own weights.

        Args:
            transformer: the encoder; a classifier on top of it stays as it is.
            seed: draws A.
        """
        import torch
        from peft import LoraConfig, inject_adapter_in_model

        encoder = transformer.base_model
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType] (a number that is divided by the rank)
            lora_dropout=self.dropout,
            target_modules=self.targets(encoder),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inject_adapter_in_model(config, encoder)

    @staticmethod
    def merge(transformer: PreTrainedModel) -> None:
        """Add every update to its matrix, in place, so that the encoder has only its own layers again."""
        from peft.tuners.lora import LoraLayer

        encoder = transformer.base_model
        for parent in list(encoder.modules()):
            adapted: dict[str, Any] = {
                name: layer for name, layer in parent.named_children() if isinstance(layer, LoraLayer)
            }
            for name, layer in adapted.items():
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
        encoder.requires_grad_(True)
        if hasattr(encoder, "peft_config"):
            del encoder.peft_config
