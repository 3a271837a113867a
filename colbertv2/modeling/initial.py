"""The model before any training: pretrained backbone, and a projection that keeps its geometry.

A plain random linear layer loses most of what a sentence encoder knows; an orthogonal or PCA start keeps it
(SciFact nDCG@10 .699 of .709 at 128 of 384 dims).
"""

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from colbertv2.errors import InputError
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.tokenizer import Conventions, Tokenizer

PROJECTIONS = ("orthogonal", "pca", "linear")


def conventions(backbone: Backbone, wanted: Conventions | None) -> Conventions:
    """``wanted``, or the backbone's own where it is a ColBERT checkpoint."""
    if wanted is not None:
        return wanted
    if backbone.checkpoint is None:
        raise InputError(f"model.conventions is null, but {backbone.name} is no ColBERT checkpoint that has its own.")
    return backbone.checkpoint.conventions


def overridden(backbone: Backbone, chosen: Conventions) -> list[str]:
    """A line for each of the checkpoint's own conventions that ``chosen`` overrides, and where it stands."""
    if backbone.checkpoint is None:
        return []
    own, sources = backbone.checkpoint.conventions, backbone.checkpoint.sources
    return [
        f"model.conventions.{field.name}={getattr(chosen, field.name)!r} overrides the checkpoint's "
        f"{getattr(own, field.name)!r} ({sources.get(field.name, 'default')})"
        for field in fields(Conventions)
        if getattr(own, field.name) != getattr(chosen, field.name)
    ]


def colbert(
    backbone: Backbone, conventions: Conventions, dim: int, projection: str, sample: list[str], seed: int
) -> ColBERT:
    """An untrained ColBERT on ``backbone``; a released ColBERT checkpoint's own projection is kept where it has one.

    Args:
        dim: dimensions of a token vector.
        projection: ``orthogonal`` (random rotation, seeded), ``pca`` (uncentred, of the sample's token states) or
            ``linear`` (torch's default, for a backbone that will be trained at length).
        sample: documents for ``pca``; not read otherwise.
    """
    if projection not in PROJECTIONS:
        raise InputError(f"model.projection is {projection!r}; expected one of {', '.join(PROJECTIONS)}.")
    trained = backbone.projection()
    if trained is not None and trained.shape[0] != dim:
        raise InputError(
            f"{backbone.name} has a trained projection to {trained.shape[0]} dims; set model.dim to it, not {dim}."
        )
    if dim > backbone.hidden_size:
        raise InputError(f"model.dim is {dim}, above the backbone's hidden size {backbone.hidden_size}.")
    tokenizer = Tokenizer(backbone.tokenizer(), conventions)
    transformer = backbone.transformer()
    if trained is not None:
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
    states = np.concatenate(identity.encode_documents(sample))
    second_moment = torch.from_numpy(states.T @ states).double()
    return torch.linalg.eigh(second_moment).eigenvectors[:, -dim:].T.flip(0).float()
