"""Stage: encode the documents of a collection into indexes of one or several codecs, and keep no other vectors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.data.collection import Collection
from colbertv2.division import with_items
from colbertv2.errors import InputError
from colbertv2.indexing.embeddings import notes_on_empty
from colbertv2.parts import WorkPart
from colbertv2.reduction.reduction import NoReduction, Reduction
from colbertv2.runtime import Runtime
from colbertv2.schema import MaxLength, PositiveInt, Precision, Seed

LENGTHS, DOC_IDS = "lengths.npy", "doc_ids.txt"

logger = logging.getLogger(__name__)


@stage(version=1, divided=True, prepares=True, provides=["indexes"], neutral={"reduction": NoReduction()})
def run(
    checkpoint: Artifact,
    documents: Collection,
    clustering: Clustering,
    codecs: dict[str, Codec],
    reduction: Reduction,
    *,
    document_maxlen: MaxLength | None,
    precision: Precision,
    num_shards: PositiveInt,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Encode every document and compress its vectors at once, with all ``codecs`` in one pass.

    First the tokens of all documents are counted, and a sample of the documents is encoded, from which centroids and
    codecs learn; the sample is encoded again with all others. Memory is bounded by the sample, and then by
    ``runtime.shard_documents`` documents per process. The stages ``encode``, ``centroids`` and ``index`` make the same
    indexes (:mod:`colbertv2.indexing.streaming`), but need room for all vectors as 16-bit floats.

    Writes the index of each codec into a directory of its name; the stage ``streamed_index`` takes one of them. Also
    writes ``doc_ids.txt`` and ``lengths.npy``, the number of vectors of each document.

    Args:
        checkpoint: the ColBERT checkpoint to encode with.
        documents: the collection.
        clustering: how the sample is drawn and clustered; for codecs with centroids, which share them.
        codecs: how vectors are compressed, by names for directories.
        reduction: none; every other one is refused, since it needs the vectors of the stage ``encode``.
        document_maxlen: as in the stage ``encode``.
        precision: as in the stage ``encode``.
        num_shards: as in the stage ``index``.
        seed: the seed of the sample and of k-means.
    """
    from colbertv2.analysis.explain import document_token_ids
    from colbertv2.indexing import building
    from colbertv2.indexing.encoding import document_encoder, documents_per_part, sampled_vectors
    from colbertv2.indexing.packed import offsets_of
    from colbertv2.indexing.shards import parts_within, shards_of
    from colbertv2.indexing.storage import read_ids, write_ids
    from colbertv2.indexing.streaming import StreamedEmbeddings
    from colbertv2.modeling.query_vectors import encoded_queries

    def learn() -> dict[str, Any]:
        model = document_encoder(checkpoint.path, documents, document_maxlen, runtime, runtime.torch_device)
        texts = runtime.bar((text for _, text in documents), "count tokens", "documents", len(documents))
        token_ids = document_token_ids(model.tokenizer, texts, model.vectors_per_document)
        lengths = np.array([len(ids) for ids in token_ids], np.int32)
        if not lengths.any():
            raise InputError(f"{documents.id} holds no vectors; expected at least one document with tokens.")
        np.save(out / LENGTHS, lengths)
        write_ids(out / DOC_IDS, (doc_id for doc_id, _ in documents))
        source = StreamedEmbeddings(model, documents, lengths, **settings)
        clusters = None
        if any(codec.has_centroids for codec in codecs.values()):
            clusters = building.cluster(clustering, source, seed=seed, device=runtime.torch_device)
        sampled = {}
        for name, codec in codecs.items():
            own = clusters if clusters is not None and codec.has_centroids else building.sample_for(codec, source)
            codec.learn(own, sampled_vectors(codec, partial(encoded_queries, checkpoint.path, runtime=runtime)))
            building.save_codec(out / name, codec)
            sampled[name] = own.num_sampled_documents
        return {"dim": model.dim, "num_sampled_documents": sampled}

    size = documents_per_part(len(documents), runtime)
    settings = {"size": size, "batch_tokens": runtime.batch_tokens, "precision": precision, "bar": runtime.bar}
    learned = runtime.once(out, learn)
    lengths = np.load(out / LENGTHS)
    bounds = parts_within((shard.documents for shard in shards_of(out, lengths, num_shards)), size)
    kinds = {name: type(codec) for name, codec in codecs.items()}
    parts = runtime.divide(
        len(bounds) - 1,
        encode_parts,
        checkpoint.path,
        documents,
        bounds,
        document_maxlen,
        kinds,
        settings,
        out,
        runtime,
        out=out,
        layout={"documents": size},
    )
    doc_ids, rows = read_ids(out / DOC_IDS, len(lengths)), offsets_of(lengths)[bounds].tolist()
    for name, number in learned["num_sampled_documents"].items():
        directories = [part.directory / name for part in parts]
        building.assemble(out / name, learned["dim"], directories, rows, doc_ids, lengths, num_shards, number)
    for note in notes_on_empty(lengths):
        logger.warning("%s: %s", documents.id, note)


def encode_parts(
    parts: Iterable[WorkPart],
    device: Any,
    checkpoint: Path,
    documents: Collection,
    bounds: Sequence[int],
    document_maxlen: MaxLength | None,
    kinds: Mapping[str, type[Codec]],  # makes a new process import the classes, which it needs to load such codecs
    settings: Mapping[str, Any],
    learned: Path,
    runtime: Runtime,
) -> None:
    """Encode the documents of some parts with all codecs.

    Args:
        parts: parts of the documents.
        device: the device to encode on.
        checkpoint: directory of the checkpoint.
        documents: the collection.
        bounds: part n has the documents from ``bounds[n]`` to ``bounds[n + 1]``.
        document_maxlen: see :func:`run`.
        kinds: the classes of the codecs.
        settings: the keyword arguments of ``StreamedEmbeddings``.
        learned: the directory that holds the codecs and the lengths.
        runtime: how the model attends.
    """
    from colbertv2.compression.codec import load_codec
    from colbertv2.indexing.encoding import document_encoder
    from colbertv2.indexing.streaming import StreamedEmbeddings, write_part

    codecs, lengths = {name: load_codec(learned / name / "codec") for name in kinds}, np.load(learned / LENGTHS)
    model = document_encoder(checkpoint, documents, document_maxlen, runtime, device)
    source = StreamedEmbeddings(model, documents, lengths, **settings)
    for part, block in with_items(parts, documents, bounds):
        expected = lengths[bounds[part.number] : bounds[part.number + 1]]
        write_part(part.directory, codecs, source.encode(block, expected, part.number, len(bounds) - 1), device)


def check(
    checkpoint: Node,
    documents: Collection,
    codecs: dict[str, Codec],
    reduction: Reduction,
    document_maxlen: int | None,
    num_shards: int,
    **_: object,
) -> Iterator[str]:
    """Check that the model can read the documents, that the codecs can encode its vectors, and the other values."""
    from colbertv2.indexing.shards import shard_problems
    from colbertv2.modeling.initial import dim_of, document_problems

    yield from document_problems(checkpoint, documents, document_maxlen)
    if not isinstance(reduction, NoReduction):
        yield (
            f"reduction is {reduction!r}, but vectors that are not stored can't be reduced; expected none. Set "
            "reduction=none, or pipeline=untrained, which stores them."
        )
    if not codecs:
        yield "codecs is empty; expected at least one codec by a name."
    for name, codec in codecs.items():
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            yield f"codecs has the name {name!r}; expected letters, digits and underscores, for a directory."
        yield from (f"codecs.{name}: {problem}" for problem in codec.check(dim_of(checkpoint)))
    yield from shard_problems(num_shards, len(documents))


def lacks(codecs: dict[str, Codec], **_: object) -> Iterator[str]:
    """Say if faiss is not installed, and a codec needs centroids."""
    from colbertv2.compression.clustering.kmeans import missing_package

    if any(codec.has_centroids for codec in codecs.values()) and (missing := missing_package()):
        yield missing
