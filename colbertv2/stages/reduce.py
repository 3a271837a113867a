"""Stage: make fewer vectors of each document's vectors, by pooling or pruning, before they are indexed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection, is_empty
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.reduction.reduction import NoReduction, Reduction, Weights, special_ids
from colbertv2.runtime import Runtime
from colbertv2.schema import Precision

if TYPE_CHECKING:
    from colbertv2.modeling.colbert import ColBERT


@stage(version=1)
def run(embeddings: Artifact, documents: Collection, reduction: Reduction, *, out: Path, runtime: Runtime) -> None:
    """Reduce the vectors of every document, shard by shard; memory is bounded by one shard.

    If a reduction needs weights of the tokens, the model encodes each shard once more, on one device.
    Writes what the stage ``encode`` writes, and ``statistics.json``: the number of vectors before and after.

    Args:
        embeddings: the vectors of all tokens.
        documents: the documents that were encoded, whose tokens the vectors belong to.
        reduction: which vectors are pooled or left out.
    """
    from colbertv2.analysis.explain import document_encoder, document_token_ids
    from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
    from colbertv2.parallel import parallel_map

    encoded = Embeddings.open(embeddings.path)
    model = document_encoder(embeddings)
    tokenizer = model.tokenizer

    def token_ids(words: str) -> Iterator[NDArray[np.int64]]:
        texts = runtime.bar((text for _, text in documents), words, "documents", len(documents))
        yield from document_token_ids(tokenizer, texts)  # as a generator, nothing is read until it is iterated

    reduction.learn(tokenizer, token_ids("count tokens"))
    special, writer = special_ids(tokenizer), EmbeddingsWriter(out, encoded.dim)
    weights_of = weighing(model, documents, reduction, embeddings.arguments["precision"], runtime)
    del model  # most reductions do not need it, and it is large

    def reduced(document: tuple[NDArray[np.float16], NDArray[np.int64], Weights]) -> NDArray[np.float32]:
        vectors, ids, weights = document
        if len(vectors) != len(ids):
            raise InputError(
                f"A document has {len(vectors)} vectors, but {len(ids)} tokens: {documents.id} is not what "
                f"{embeddings.address} was encoded from, or its tokenizer has changed; encode again."
            )
        return reduction.reduce(vectors.astype(np.float32), ids, reduction.protects(ids, special), weights)

    stream, first = token_ids("reduce"), 0
    for shard in encoded.shards():
        parts = np.split(shard.vectors, shard.offsets[1:-1]) if len(shard) else []
        each = zip(parts, islice(stream, len(shard)), weights_of(len(shard)), strict=True)
        made = list(parallel_map(reduced, each))
        lengths = np.array([len(one) for one in made], np.int32)
        vectors = np.concatenate(made) if made else np.zeros((0, encoded.dim), np.float32)
        writer.add(encoded.doc_ids[first : first + len(shard)], vectors, lengths)
        first += len(shard)
    writer.close()
    kept = Embeddings.open(out).num_vectors
    write_json(out / "statistics.json", {"num_vectors_before": encoded.num_vectors, "num_vectors": kept})


def weighing(
    model: ColBERT, documents: Collection, reduction: Reduction, precision: Precision, runtime: Runtime
) -> Callable[[int], list[Weights]]:
    """A function that takes a number n and gives the weights ``[L]`` of the tokens of each of the next n documents.

    They are ``None`` for a reduction that needs none. Otherwise the documents are encoded, in batches and in a
    precision like those of the stage ``encode``.
    """
    kind = reduction.token_weights
    if kind is None:
        return lambda number: [None] * number
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.token_weights import token_weights

    model = with_attention(model, runtime.attention).to(runtime.device_of(0))
    texts = (text for _, text in documents)

    def weights_of(number: int) -> list[Weights]:
        own = list(islice(texts, number))
        found = token_weights(model, own, kind, runtime.batch_tokens, batches_bar, precision)
        return [weights[:0] if is_empty(text) else weights for text, weights in zip(own, found, strict=True)]

    def batches_bar(batches: list[list[int]]) -> Iterable[list[int]]:
        return runtime.bar(batches, "weigh tokens", "batches", len(batches))

    return weights_of


def replaced(reduction: type[Reduction], **_: object) -> str | None:
    """Without a reduction, the embeddings themselves stand in the place of this node."""
    return "embeddings" if reduction is NoReduction else None


def check(embeddings: Node, documents: Collection, reduction: Reduction) -> Iterator[str]:
    """Check that the documents are those that were encoded, and that the budget fits their length."""
    from colbertv2.modeling.initial import document_length

    if "documents" not in embeddings.bound or embeddings.bound["documents"].identity() != documents.identity():
        yield "the documents are not those of the embeddings; both must read the same collection."
    elif maxlen := document_length(embeddings):
        yield from reduction.check(maxlen)
