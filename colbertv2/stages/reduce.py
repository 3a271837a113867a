"""Stage: make fewer vectors of each document's vectors, by pooling or pruning, before they are indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection, is_empty
from colbertv2.division import with_items
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.indexing.packed import offsets_of
from colbertv2.parts import WorkPart
from colbertv2.reduction.reduction import NoReduction, Reduction, Weights, special_ids
from colbertv2.runtime import Runtime
from colbertv2.schema import Precision

if TYPE_CHECKING:
    from colbertv2.modeling.colbert import ColBERT


@stage(version=1, divided=True)
def run(embeddings: Artifact, documents: Collection, reduction: Reduction, *, out: Path, runtime: Runtime) -> None:
    """Reduce the vectors of every document, shard by shard; memory is bounded by one shard per process.

    If a reduction needs weights of the tokens, the model encodes each shard once more.
    Writes what the stage ``encode`` writes, and ``statistics.json``: the number of vectors before and after.

    Args:
        embeddings: the vectors of all tokens.
        documents: the documents that were encoded, whose tokens the vectors belong to.
        reduction: which vectors are pooled or left out.
    """
    from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter

    encoded = Embeddings.open(embeddings.path)
    sizes = [size["num_documents"] for size in encoded.sizes]
    parts = runtime.divide(
        len(sizes), reduce_shards, embeddings, documents, reduction, runtime, out=out, layout={"documents": sizes}
    )
    EmbeddingsWriter(out, encoded.dim).close([part.directory for part in parts])
    kept = Embeddings.open(out).num_vectors
    write_json(out / "statistics.json", {"num_vectors_before": encoded.num_vectors, "num_vectors": kept})


def reduce_shards(
    parts: Iterable[WorkPart],
    device: Any,
    embeddings: Artifact,
    documents: Collection,
    reduction: Reduction,
    runtime: Runtime,
) -> None:
    """Reduce the vectors of some shards. Each process learns the reduction, which at most counts tokens.

    Args:
        parts: the shards, numbered as those of the embeddings.
        device: the device to weigh tokens on.
        embeddings: see :func:`run`.
        documents: see :func:`run`.
        reduction: see :func:`run`.
        runtime: batch size.
    """
    from colbertv2.analysis.explain import document_token_ids, model_of
    from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
    from colbertv2.parallel import parallel_map

    encoded = Embeddings.open(embeddings.path)
    model = model_of(embeddings)
    tokenizer, per_document = model.tokenizer, model.vectors_per_document

    def counted() -> Iterator[NDArray[np.int64]]:
        texts = runtime.bar((text for _, text in documents), "count tokens", "documents", len(documents))
        # As this is a generator, nothing is read until it is iterated.
        yield from document_token_ids(tokenizer, texts, per_document)

    reduction.learn(tokenizer, counted())
    special = special_ids(tokenizer)
    weights_of = weighing(model, reduction, embeddings.arguments["precision"], device, runtime)
    del model  # most reductions do not need it, and it is large

    def reduced(document: tuple[NDArray[np.float16], NDArray[np.int64], Weights]) -> NDArray[np.float32]:
        vectors, ids, weights = document
        if len(vectors) != len(ids):
            raise InputError(
                f"A document has {len(vectors)} vectors, but {len(ids)} tokens: {documents.id} is not what "
                f"{embeddings.address} was encoded from, or its tokenizer has changed; encode again."
            )
        return reduction.reduce(vectors.astype(np.float32), ids, reduction.protects(ids, special), weights)

    bounds = offsets_of(np.array([size["num_documents"] for size in encoded.sizes], np.int64)).tolist()
    for part, own in with_items(parts, runtime.bar(documents, "reduce", "documents", len(documents)), bounds):
        shard, texts = encoded.shard(part.number), [text for _, text in own]
        vectors = np.split(shard.vectors, shard.offsets[1:-1]) if len(shard) else []
        each = zip(vectors, document_token_ids(tokenizer, texts, per_document), weights_of(texts), strict=True)
        made = list(parallel_map(reduced, each))
        lengths = np.array([len(one) for one in made], np.int32)
        joined = np.concatenate(made) if made else np.zeros((0, encoded.dim), np.float32)
        EmbeddingsWriter(part.directory, encoded.dim).add([doc_id for doc_id, _ in own], joined, lengths, part.number)


def weighing(
    model: ColBERT, reduction: Reduction, precision: Precision, device: Any, runtime: Runtime
) -> Callable[[list[str]], list[Weights]]:
    """A function that takes the texts of documents and gives the weights ``[L]`` of the tokens of each.

    They are ``None`` for a reduction that needs none. Otherwise the documents are encoded, in batches and in a
    precision like those of the stage ``encode``.
    """
    kind = reduction.token_weights
    if kind is None:
        return lambda texts: [None] * len(texts)
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.token_weights import token_weights

    model = with_attention(model, runtime.attention).to(device)

    def weights_of(texts: list[str]) -> list[Weights]:
        found = token_weights(model, texts, kind, runtime.batch_tokens, batches_bar, precision)
        return [weights[:0] if is_empty(text) else weights for text, weights in zip(texts, found, strict=True)]

    def batches_bar(batches: list[list[int]]) -> Iterable[list[int]]:
        return runtime.bar(batches, "weigh tokens", "batches", len(batches))

    return weights_of


def replaced(reduction: type[Reduction], **_: object) -> str | None:
    """Without a reduction, the embeddings themselves stand in the place of this node."""
    return "embeddings" if reduction is NoReduction else None


def check(embeddings: Node, documents: Collection, reduction: Reduction) -> Iterator[str]:
    """Check that the documents are those that were encoded, and that the budget fits their length."""
    from colbertv2.modeling.initial import document_length, vectors_per_document

    if "documents" not in embeddings.bound or embeddings.bound["documents"].identity() != documents.identity():
        yield "the documents are not those of the embeddings; both must read the same collection."
    elif pooled := vectors_per_document(embeddings.ancestor("checkpoint")):
        yield from reduction.check_pooled(pooled)
    elif maxlen := document_length(embeddings):
        yield from reduction.check(maxlen)
