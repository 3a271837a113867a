"""Stage: the token vectors of a collection, encoded once for every index configuration."""

from itertools import islice
from pathlib import Path

from colbertv2.artifacts import Artifact, stage
from colbertv2.data import Collection
from colbertv2.distributed import run_on
from colbertv2.modeling import ColBERT
from colbertv2.modeling.colbert import stacked
from colbertv2.retrieval.embeddings import EmbeddingsWriter
from colbertv2.runtime import Runtime


@stage(version=1)
def run(checkpoint: Artifact, documents: Collection, *, out: Path, runtime: Runtime) -> None:
    """Encode every document to fp16 shards of ``runtime.shard_documents``; memory is bounded by one shard a process.

    With ``runtime.devices`` processes, each encodes every so-manieth shard.
    """
    size = max(1, min(runtime.shard_documents, -(-len(documents) // runtime.devices)))
    num_shards = -(-len(documents) // size)
    run_on(runtime.devices, encode_shards, checkpoint.path, documents, size, num_shards, out, runtime)
    EmbeddingsWriter(out, ColBERT.load(checkpoint.path).dim).close(num_shards)


def encode_shards(
    rank: int,
    world: int,
    checkpoint: Path,
    documents: Collection,
    size: int,
    num_shards: int,
    out: Path,
    runtime: Runtime,
) -> None:
    """The shards of one process."""
    model = ColBERT.load(checkpoint).to(runtime.device_of(rank))
    writer = EmbeddingsWriter(out, model.dim)
    stream = iter(documents)
    for number in range(num_shards):
        block = list(islice(stream, size))
        if number % world != rank:
            continue
        ids, texts = zip(*block, strict=True)
        vectors = model.encode_documents(
            texts,
            runtime.batch_tokens,
            lambda batches, number=number: runtime.bar(
                batches, f"encode shard {number + 1} of {num_shards}", "batches"
            ),
        )
        writer.add(list(ids), *stacked(vectors, model.dim), number)
