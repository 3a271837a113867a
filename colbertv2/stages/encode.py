"""Stage: encode the token vectors of a collection, once for all index configurations."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.division import with_items
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter, notes_on_empty
from colbertv2.parts import WorkPart
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, Precision

logger = logging.getLogger(__name__)


@stage(version=2, divided=True)
def run(
    checkpoint: Artifact,
    documents: Collection,
    *,
    document_maxlen: MaxLength | None,
    precision: Precision,
    out: Path,
    runtime: Runtime,
) -> None:
    """Encode every document to float16 shards of at most ``runtime.shard_documents`` documents.

    Each shard is a part of the work, and memory is bounded by one shard per process. How the documents are divided
    does not depend on the number of processes and machines.

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
    from colbertv2.indexing.encoding import documents_per_part
    from colbertv2.modeling.colbert import ColBERT

    size = documents_per_part(len(documents), runtime)
    bounds = [*range(0, len(documents), size), len(documents)]
    parts = runtime.divide(
        len(bounds) - 1,
        encode_shards,
        checkpoint.path,
        documents,
        bounds,
        document_maxlen,
        precision,
        runtime,
        out=out,
        layout={"documents": size},
    )
    EmbeddingsWriter(out, ColBERT.load(checkpoint.path).dim).close([part.directory for part in parts])
    for note in notes_on_empty(Embeddings.open(out).lengths):
        logger.warning("%s: %s", documents.id, note)


def encode_shards(
    parts: Iterable[WorkPart],
    device: Any,
    checkpoint: Path,
    documents: Collection,
    bounds: Sequence[int],
    document_maxlen: MaxLength | None,
    precision: Precision,
    runtime: Runtime,
) -> None:
    """Encode and write some shards.

    Args:
        parts: the shards.
        device: the device to encode on.
        checkpoint: directory of the checkpoint.
        documents: the collection.
        bounds: shard n has the documents from ``bounds[n]`` to ``bounds[n + 1]``.
        document_maxlen: see :func:`run`.
        precision: see :func:`run`.
        runtime: batch size.
    """
    from colbertv2.indexing.encoding import document_encoder, encode_shard

    model = document_encoder(checkpoint, documents, document_maxlen, runtime, device)
    for part, shard in with_items(parts, documents, bounds):
        encoded = encode_shard(
            model,
            shard,
            part.number,
            len(bounds) - 1,
            batch_tokens=runtime.batch_tokens,
            precision=precision,
            bar=runtime.bar,
        )
        EmbeddingsWriter(part.directory, model.dim).add(*encoded, part.number)


def check(checkpoint: Node, documents: Collection, document_maxlen: int | None, **_: object) -> Iterator[str]:
    """Check that the model can read documents of ``document_maxlen`` tokens, and that their prompt leaves room."""
    from colbertv2.modeling.initial import document_problems

    yield from document_problems(checkpoint, documents, document_maxlen)
