"""Stage: the token vectors of a collection, encoded once for every index configuration."""

from itertools import islice
from pathlib import Path

from colbertv2.artifacts import Artifact, stage
from colbertv2.data import Collection
from colbertv2.modeling import ColBERT
from colbertv2.modeling.colbert import stacked
from colbertv2.retrieval.embeddings import EmbeddingsWriter
from colbertv2.runtime import Runtime


@stage(version=1)
def run(checkpoint: Artifact, documents: Collection, *, out: Path, runtime: Runtime) -> None:
    """Encode every document to fp16 shards of ``runtime.shard_documents``; memory is bounded by one shard."""
    model = ColBERT.load(checkpoint.path).to(runtime.torch_device)
    writer = EmbeddingsWriter(out, model.dim)
    stream = iter(documents)
    num_shards = -(-len(documents) // runtime.shard_documents)
    for number in range(num_shards):
        ids, texts = zip(*islice(stream, runtime.shard_documents), strict=True)
        vectors = model.encode_documents(
            texts,
            runtime.batch_tokens,
            lambda batches, number=number: runtime.bar(
                batches, f"encode shard {number + 1} of {num_shards}", "batches"
            ),
        )
        writer.add(list(ids), *stacked(vectors, model.dim))
    writer.close()
