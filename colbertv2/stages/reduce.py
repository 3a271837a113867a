"""Stage: make fewer vectors of each document's vectors, by pooling or pruning, before they are indexed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.reduction.reduction import NoReduction, Reduction, special_ids
from colbertv2.runtime import Runtime


@stage(version=1)
def run(embeddings: Artifact, documents: Collection, reduction: Reduction, *, out: Path, runtime: Runtime) -> None:
    """Reduce the vectors of every document, shard by shard; memory is bounded by one shard.

    Writes what the stage ``encode`` writes, and ``statistics.json``: the number of vectors before and after.

    Args:
        embeddings: the vectors of all tokens.
        documents: the documents that were encoded, whose tokens the vectors belong to.
        reduction: which vectors are pooled or left out.
    """
    from colbertv2.analysis.explain import document_token_ids, document_tokenizer
    from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
    from colbertv2.parallel import parallel_map

    encoded = Embeddings.open(embeddings.path)
    tokenizer = document_tokenizer(embeddings)

    def token_ids(words: str) -> Iterator[NDArray[np.int64]]:
        texts = runtime.bar((text for _, text in documents), words, "documents", len(documents))
        yield from document_token_ids(tokenizer, texts)  # as a generator, nothing is read until it is iterated

    reduction.learn(tokenizer, token_ids("count tokens"))
    special, writer = special_ids(tokenizer), EmbeddingsWriter(out, encoded.dim)

    def reduced(document: tuple[NDArray[np.float16], NDArray[np.int64]]) -> NDArray[np.float32]:
        vectors, ids = document
        if len(vectors) != len(ids):
            raise InputError(
                f"A document has {len(vectors)} vectors, but {len(ids)} tokens: {documents.id} is not what "
                f"{embeddings.address} was encoded from, or its tokenizer has changed; encode again."
            )
        return reduction.reduce(vectors.astype(np.float32), ids, reduction.protects(ids, special))

    stream, first = token_ids("reduce"), 0
    for shard in encoded.shards():
        parts = np.split(shard.vectors, shard.offsets[1:-1]) if len(shard) else []
        made = list(parallel_map(reduced, zip(parts, islice(stream, len(shard)), strict=True)))
        lengths = np.array([len(one) for one in made], np.int32)
        vectors = np.concatenate(made) if made else np.zeros((0, encoded.dim), np.float32)
        writer.add(encoded.doc_ids[first : first + len(shard)], vectors, lengths)
        first += len(shard)
    writer.close()
    kept = Embeddings.open(out).num_vectors
    write_json(out / "statistics.json", {"num_vectors_before": encoded.num_vectors, "num_vectors": kept})


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
