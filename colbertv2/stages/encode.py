"""Stage: encode the token vectors of a collection, once for all index configurations."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.checkpoints.pretrained import too_long
from colbertv2.data.collection import Collection
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter, notes_on_empty
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, Precision

logger = logging.getLogger(__name__)


@stage(version=2)
def run(
    checkpoint: Artifact,
    documents: Collection,
    *,
    document_maxlen: MaxLength | None,
    precision: Precision,
    out: Path,
    runtime: Runtime,
) -> None:
    """Encode every document to float16 shards of ``runtime.shard_documents`` documents.

    Memory is bounded by one shard per process. With ``n = runtime.devices`` processes, each encodes every ``n``-th
    shard.

    A document without text gets no vectors and is never found; the vectors of its special tokens alone could match any
    query. Identical documents have identical vectors, and are therefore tied in every search. Within a shard this holds
    on every device; across shards, it holds if a text's vectors do not depend on its batch, as on the CPUs where this
    was measured.

    Args:
        checkpoint: the ColBERT checkpoint to encode with.
        documents: the collection.
        document_maxlen: maximum number of tokens per document; ``None`` takes that of the collection, or else truncates
            as in training. The paper trains with 180 and encodes BEIR and LoTTE with 300.
        precision: ``32-true``, or ``bf16-mixed`` or ``16-mixed`` if that is faster on the device.
    """
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.parallel import run_on

    size = max(1, min(runtime.shard_documents, -(-len(documents) // runtime.devices)))
    num_shards = -(-len(documents) // size)
    run_on(
        runtime.devices,
        encode_shards,
        checkpoint.path,
        documents,
        size,
        num_shards,
        document_maxlen,
        precision,
        out,
        runtime,
    )
    EmbeddingsWriter(out, ColBERT.load(checkpoint.path).dim).close(num_shards)
    for note in notes_on_empty(Embeddings.open(out).lengths):
        logger.warning("%s: %s", documents.id, note)


def encode_shards(
    rank: int,
    world: int,
    checkpoint: Path,
    documents: Collection,
    size: int,
    num_shards: int,
    document_maxlen: MaxLength | None,
    precision: Precision,
    out: Path,
    runtime: Runtime,
) -> None:
    """Encode and write every ``world``-th shard, from number ``rank`` on: those of one process.

    Args:
        rank: number of this process.
        world: number of processes.
        checkpoint: directory of the checkpoint.
        documents: the collection.
        size: documents per shard.
        num_shards: number of shards of all processes.
        document_maxlen: see :func:`run`.
        precision: see :func:`run`.
        out: directory of the embeddings.
        runtime: devices and batch size.
    """
    from colbertv2.indexing.encoding import write_shards
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.colbert import ColBERT

    loaded = ColBERT.load(checkpoint, document_maxlen or documents.maxlen, document_prompt=documents.prompt)
    model = with_attention(loaded, runtime.attention).to(runtime.device_of(rank))
    write_shards(
        model,
        documents,
        EmbeddingsWriter(out, model.dim),
        size=size,
        num_shards=num_shards,
        batch_tokens=runtime.batch_tokens,
        precision=precision,
        bar=runtime.bar,
        rank=rank,
        world=world,
    )


def check(checkpoint: Node, documents: Collection, document_maxlen: int | None, **_: object) -> Iterator[str]:
    """Check that the model can read documents of ``document_maxlen`` tokens, and that their prompt leaves room."""
    from colbertv2.modeling.initial import backbone_of, text_problems

    yield from text_problems(checkpoint, documents=documents)
    backbone = backbone_of(checkpoint)
    if backbone and (problem := too_long("document_maxlen", document_maxlen, backbone.max_length)):
        yield problem
