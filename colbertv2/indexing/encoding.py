"""Encoding documents into embeddings, shard by shard, or into an index, and the queries that a codec learns from.

The stages, ``TextIndex`` and the adapter for MTEB share it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.data.collection import Collection, is_empty, text_settings
from colbertv2.division import part_size
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter

if TYPE_CHECKING:
    from colbertv2.compression.clustering.clustering import Clustering
    from colbertv2.compression.codec import Codec
    from colbertv2.indexing.building import Bar
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.runtime import Runtime

PART_DOCUMENTS = 1024  # per part of a small collection, so that several processes have something to do


def documents_per_part(num_documents: int, runtime: Runtime) -> int:
    """How many documents are encoded as one part of the work, whatever the number of processes and machines."""
    return min(runtime.shard_documents, part_size(num_documents, PART_DOCUMENTS))


def document_model(checkpoint: Path, documents: Collection, document_maxlen: int | None) -> ColBERT:
    """The model in the directory ``checkpoint``, with the length and the prompt of the documents.

    Args:
        document_maxlen: ``None`` takes that of the collection, or else that of the model.
    """
    from colbertv2.modeling.colbert import ColBERT

    return ColBERT.load(checkpoint, document_maxlen or documents.maxlen, document_prompt=documents.prompt)


def document_encoder(
    checkpoint: Path, documents: Collection, document_maxlen: int | None, runtime: Runtime, device: Any
) -> ColBERT:
    """As :func:`document_model`, on a device, and with the runtime's attention."""
    from colbertv2.modeling.attention import with_attention

    return with_attention(document_model(checkpoint, documents, document_maxlen), runtime.attention).to(device)


def encode_shard(
    model: ColBERT,
    documents: Sequence[tuple[str, str]],
    number: int,
    num_shards: int,
    *,
    batch_tokens: int,
    precision: str,
    bar: Bar,
) -> tuple[list[str], NDArray[np.float32], NDArray[np.int32]]:
    """Encode the documents of a shard; a document without text gets no vectors.

    Args:
        model: encodes the documents.
        documents: ``(id, text)`` of each.
        number: the shard's number, of ``num_shards``, for the progress bar.
        batch_tokens: maximum number of tokens in a batch.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        bar: shows progress, as ``Runtime.bar`` does.

    Returns:
        The arguments of ``EmbeddingsWriter.add``: the ids, all vectors end to end, the number of each document's.
    """
    from colbertv2.modeling.colbert import stacked

    def batches_bar(batches: Sequence[Any]) -> Iterable[Any]:
        return bar(batches, f"encode shard {number + 1} of {num_shards}", "batches", len(batches))

    texts = [text for _, text in documents]
    vectors = model.encode_documents(texts, batch_tokens, batches_bar, precision)
    kept = (own[:0] if is_empty(text) else own for text, own in zip(texts, vectors, strict=True))
    return [doc_id for doc_id, _ in documents], *stacked(kept, model.dim)


def sampled_vectors(codec: Codec, encode: Callable[..., list[NDArray[np.float32]]]) -> NDArray[np.float32] | None:
    """Vectors of the queries that a codec learns from, float32 ``[n, dim]``; None if it learns from none.

    Args:
        codec: its ``queries``, if it has any, may have a prompt and a length of their own.
        encode: takes texts, and ``prompt`` and ``maxlen`` as far as these are set; gives ``[Lq, dim]`` for each text.
    """
    if not (texts := codec.sample_queries()):
        return None
    queries = getattr(codec, "queries", None)
    return np.concatenate(encode(texts, **(text_settings(queries) if queries else {})))


def build_index(
    model: ColBERT,
    documents: Iterable[tuple[str, str]],
    num_documents: int,
    codec: Codec,
    out: Path,
    *,
    clustering: Clustering | None,
    seed: int,
    shard_documents: int,
    batch_tokens: int,
    precision: str,
    bar: Bar,
) -> None:
    """Encode documents and write their index to ``out``, in this process and on the model's device.

    The vectors are in a directory beside ``out`` until the index is complete.

    Args:
        model: encodes the documents, and the queries that the codec learns from.
        documents: ``(id, text)`` of each.
        num_documents: how many there are.
        codec: how vectors are compressed.
        out: the new directory of the index.
        clustering: for a codec with centroids; None for the paper's settings.
        seed: seed of the sample and of k-means.
        shard_documents: how many documents are encoded before their vectors are written.
        batch_tokens: maximum number of tokens in a batch.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        bar: shows progress, as ``Runtime.bar`` does.
    """
    from colbertv2.indexing.index import Index

    vectors = out.with_name(f"{out.name}.vectors")
    try:
        writer = EmbeddingsWriter(vectors, model.dim)
        stream, num_shards = iter(documents), -(-num_documents // shard_documents)
        for number in range(num_shards):
            shard = list(islice(stream, shard_documents))
            settings = {"batch_tokens": batch_tokens, "precision": precision, "bar": bar}
            writer.add(*encode_shard(model, shard, number, num_shards, **settings))
        writer.close()
        Index.build(
            Embeddings.open(vectors),
            codec,
            out,
            seed=seed,
            bar=bar,
            clustering=clustering,
            queries=sampled_vectors(codec, partial(model.encode_queries, batch_tokens=batch_tokens)),
            device=model.device,
        )
    finally:
        shutil.rmtree(vectors, ignore_errors=True)
