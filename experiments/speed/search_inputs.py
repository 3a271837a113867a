"""The inputs of every engine in the search benchmark: SciFact's vectors, token ids, lengths and claims."""

import dataclasses
import json
from pathlib import Path

import ir_datasets
import numpy as np

from colbertv2 import build, compose
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.tokenizer import Tokenizer
from colbertv2.search.scoring import maxsim


def prepare(work: Path) -> str:
    """Write all inputs to ``work``, unless they are there. Returns the address of the embeddings.

    The files are ``vectors.npy`` (float16 ``[T, dim]``), ``tokens.npy`` (int64 ``[T]``), ``lengths.npy`` (int32
    ``[D]``), ``queries.npy`` and ``train_queries.npy`` (float32 ``[n, 32, dim]``), ``exact.npy`` (MaxSim, float32
    ``[n, D]``), ``embeddings.txt`` (the path of the embeddings), and ``ids.json`` (of queries and documents).

    Raises:
        RuntimeError: the token ids do not match the vectors.
    """
    encoded = build(compose(["collection=scifact", "pipeline=untrained", "target=embeddings"]))
    address, mark = encoded.path.name, work / "prepared.txt"
    if mark.is_file() and mark.read_text() == address:
        return address
    work.mkdir(parents=True, exist_ok=True)
    (work / "embeddings.txt").write_text(str(encoded.path))
    model = ColBERT.load(encoded.ancestor("checkpoint").path)
    tokenization = dataclasses.replace(model.tokenizer.tokenization, query_augmentation=True)
    model.tokenizer = Tokenizer(model.tokenizer.tokenizer, tokenization)
    query_ids: list[str] = []
    for split, name in (("train", "train_queries"), ("test", "queries")):
        claims = list(ir_datasets.load(f"beir/scifact/{split}").queries_iter())
        np.save(work / f"{name}.npy", np.stack(model.encode_queries([claim.text for claim in claims])))
        query_ids = [claim.query_id for claim in claims]
    documents = ir_datasets.load("beir/scifact").docs_iter()
    ids = model.tokenizer.document_ids([f"{document.title} {document.text}".strip() for document in documents])
    kept = [np.array(row)[~np.isin(row, model.tokenizer.skipped)] for row in ids]
    embeddings = Embeddings.open(encoded.path)
    shards = list(embeddings.shards())
    lengths = np.concatenate([shard.lengths for shard in shards])
    if [len(row) for row in kept] != lengths.tolist():
        raise RuntimeError("The token ids do not match the vectors: title and text were joined in another way.")
    np.save(work / "tokens.npy", np.concatenate(kept).astype(np.int64))
    np.save(work / "lengths.npy", lengths.astype(np.int32))
    np.save(work / "vectors.npy", np.concatenate([shard.vectors for shard in shards]))
    (work / "ids.json").write_text(json.dumps({"queries": query_ids, "documents": embeddings.doc_ids}))
    queries = list(np.load(work / "queries.npy"))
    exact = [maxsim(queries, dataclasses.replace(shard, vectors=shard.vectors.astype(np.float32))) for shard in shards]
    np.save(work / "exact.npy", np.concatenate(exact, axis=1))
    mark.write_text(address)
    return address
