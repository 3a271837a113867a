"""The model before any training: pretrained backbone, and a projection that keeps its geometry.

A plain random linear layer loses most of what a sentence encoder knows; an orthogonal or PCA start keeps it
(SciFact nDCG@10 .699 of .709 at 128 of 384 dims).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, get_args

import numpy as np

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.options import Projection

if TYPE_CHECKING:
    from torch import Tensor

    from colbertv2.artifacts.node import Node
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Tokenizer

PROJECTIONS = get_args(Projection)


def tokenization(backbone: Backbone, wanted: Tokenization | None) -> Tokenization:
    """``wanted``, or the backbone's own where it is a ColBERT checkpoint."""
    if wanted is not None:
        return wanted
    if backbone.checkpoint is None:
        raise InputError(f"model.tokenization is null, but {backbone.name} is no ColBERT checkpoint that has its own.")
    return backbone.checkpoint.tokenization


def tokenizer_of(backbone: Backbone, wanted: Tokenization | None) -> Tokenizer:
    """The tokenizer of an untrained checkpoint, and so of all that are trained from it."""
    from colbertv2.modeling.tokenizer import Tokenizer

    return Tokenizer(backbone.tokenizer(), tokenization(backbone, wanted))


def backbone_of(checkpoint: Node) -> Backbone | None:
    """The backbone that a checkpoint of the pipeline began with, or ``None`` if its stages name none."""
    while "checkpoint" in checkpoint.parents:
        checkpoint = checkpoint.parents["checkpoint"]
    return checkpoint.bound.get("backbone")


def conflicts(backbone: Backbone, chosen: Tokenization, dim: int) -> Iterator[str]:
    """Where ``chosen`` and ``dim`` contradict the ColBERT checkpoint that the backbone is, and what to do.

    What the weights were trained with is overridden only on purpose: ``model.backbone.overrides`` names it.
    """
    if (checkpoint := backbone.checkpoint) is None:
        return
    if checkpoint.dim != dim:
        yield f"{backbone.name} has a trained projection to {checkpoint.dim} dims; set model.dim to it, not {dim}."
    for field in fields(Tokenization):
        own, other = getattr(checkpoint.tokenization, field.name), getattr(chosen, field.name)
        if own != other and field.name not in backbone.overrides:
            yield (
                f"model.tokenization.{field.name} is {other!r}, but the checkpoint says {own!r} "
                f"({checkpoint.sources.get(field.name, 'default')}): set it to that, or model.tokenization=null for "
                f"all of the checkpoint's, or override it on purpose with ++model.backbone.overrides=[{field.name}]."
            )


def colbert(
    backbone: Backbone, tokenization: Tokenization, dim: int, projection: str, sample: list[str], seed: int
) -> ColBERT:
    """An untrained ColBERT on ``backbone``; a released ColBERT checkpoint's own projection is kept where it has one.

    Args:
        dim: dimensions of a token vector.
        projection: ``orthogonal`` (random rotation, seeded), ``pca`` (uncentred, of the sample's token states) or
            ``linear`` (torch's default, for a backbone that will be trained at length).
        sample: documents for ``pca``; not read otherwise.
    """
    import torch

    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Tokenizer

    if projection not in PROJECTIONS:
        raise InputError(f"model.projection is {projection!r}; expected one of {', '.join(PROJECTIONS)}.")
    if problems := list(conflicts(backbone, tokenization, dim)):
        raise InputError("\n".join(problems))
    if dim > backbone.hidden_size:
        raise InputError(f"model.dim is {dim}, above the backbone's hidden size {backbone.hidden_size}.")
    tokenizer = Tokenizer(backbone.tokenizer(), tokenization)
    transformer = backbone.transformer()
    if (trained := backbone.projection()) is not None:
        return ColBERT(transformer, trained, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    hidden = backbone.hidden_size
    if projection == "linear":
        bound = hidden**-0.5
        return ColBERT(transformer, torch.empty(dim, hidden).uniform_(-bound, bound, generator=generator), tokenizer)
    if projection == "orthogonal":
        return ColBERT(transformer, torch.linalg.qr(torch.randn(hidden, dim, generator=generator)).Q.T, tokenizer)
    return ColBERT(
        transformer, principal_components(ColBERT(transformer, torch.eye(hidden), tokenizer), sample, dim), tokenizer
    )


def principal_components(identity: ColBERT, sample: list[str], dim: int) -> Tensor:
    """The ``dim`` leading directions ``[dim, hidden]`` of the sample's token vectors; uncentred: dot products count."""
    import torch

    states = np.concatenate(identity.encode_documents(sample))
    second_moment = torch.from_numpy(states.T @ states).double()
    return torch.linalg.eigh(second_moment).eigenvectors[:, -dim:].T.flip(0).float()
