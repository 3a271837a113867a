"""``python -m experiments.agree.stored``: write small results of the peers to tests/interchange/data, for the tests."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling.colbert import ColBERT
from experiments.agree.environments import ROOT, Peer
from experiments.agree.losses import PYLATE_LENGTH, example_batch
from experiments.agree.texts import OFFICIAL, documents, model, queries

DATA = ROOT / "tests" / "interchange" / "data"
SETTINGS = [(1, 0.5, 8), (2, 0.45, 16), (4, 0.6, 20)]  # nprobe, threshold, ndocs: so small that every stage drops some
KEPT = ("embeddings.LayerNorm.bias", "layer.5.output.LayerNorm.weight")  # gradients with 384 values each


def main() -> None:
    """Write all files."""
    work = ROOT / "outputs" / "agree" / "stored"
    for directory in (work, DATA):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    colbert_ai, pylate = Peer("colbert-ai"), Peer("pylate")
    for peer in (colbert_ai, pylate):
        peer.install()
    codec(work, colbert_ai)
    indexes(work, colbert_ai, pylate)
    losses(work, colbert_ai, pylate)


def codec(work: Path, colbert_ai: Peer) -> None:
    """Write the buckets, codes, residuals and decoded vectors of colbert-ai with 1, 2, 4 and 8 bits."""
    generator = np.random.default_rng(0)
    centroids = generator.normal(size=(8, 64))
    vectors = centroids[generator.integers(8, size=40)] + generator.normal(size=(40, 64)) / 2
    given = {"centroids": centroids, "vectors": vectors}
    given = {name: value / np.linalg.norm(value, axis=1, keepdims=True) for name, value in given.items()}
    given = {name: value.astype(np.float16).astype(np.float32) for name, value in given.items()}
    given["held_out"] = given["vectors"]
    np.savez(work / "codec.npz", **given)
    colbert_ai.run("codec_colbert_ai", work / "codec.npz", work / "codec_found.npz")
    np.savez_compressed(DATA / "codec.npz", **given, **np.load(work / "codec_found.npz"))


def indexes(work: Path, colbert_ai: Peer, pylate: Peer) -> None:
    """Write an index of each system, of 60 short documents with 32 dimensions, and its search results."""
    (work / "ours").mkdir()
    start = model(dataclasses.replace(OFFICIAL, document_maxlen=12), dim=32)
    start.save(work / "ours")
    convert_checkpoint(str(work / "ours"), work / "official", "official")
    texts = {"documents": documents(72)[12:], "queries": queries(17)[12:], "settings": SETTINGS}
    (work / "texts.json").write_text(json.dumps(texts))
    task = (work / "official", work / "texts.json", work, "colbert-ai", work / "plaid.npz", "build")
    colbert_ai.run("index_colbert_ai", *task)
    found = dict(np.load(work / "plaid.npz"))
    np.savez_compressed(DATA / "plaid.npz", **found)
    shutil.copytree(work / "colbert-ai", DATA / "colbert-ai")
    for name in ("plan.json", "metadata.json"):  # without the many entries about the machine
        metadata = json.loads((DATA / "colbert-ai" / name).read_text())
        metadata["config"] = {key: metadata["config"][key] for key in ("dim", "nbits", "doc_maxlen", "query_maxlen")}
        (DATA / "colbert-ai" / name).write_text(json.dumps(metadata, indent=4))
    encoded = ColBERT.load(work / "official").encode_documents(texts["documents"])
    given = {
        "documents": np.concatenate(encoded),
        "lengths": [len(one) for one in encoded],
        "queries": found["queries"],
    }
    np.savez(work / "vectors.npz", **given)
    pylate.run("index_fast_plaid", work / "vectors.npz", work / "fast-plaid", work / "fast_plaid.npz", "build")
    np.savez_compressed(DATA / "fast_plaid.npz", **np.load(work / "fast_plaid.npz"))
    unneeded = shutil.ignore_patterns("embeddings.npy", "*.lock")
    shutil.copytree(work / "fast-plaid", DATA / "fast-plaid", ignore=unneeded)


def losses(work: Path, colbert_ai: Peer, pylate: Peer) -> None:
    """Write the losses of a batch, and their gradients for two parameters."""
    unmasked = dataclasses.replace(OFFICIAL, document_maxlen=PYLATE_LENGTH, skip_punctuation=False)
    batch = example_batch()
    (work / "batch.json").write_text(json.dumps(batch))
    kept = {"batch": np.array(json.dumps(batch))}
    for peer, script, layout, tokenization in (
        (colbert_ai, "losses_colbert_ai", "official", dataclasses.replace(OFFICIAL, document_maxlen=PYLATE_LENGTH)),
        (pylate, "losses_pylate", "pylate", unmasked),
    ):
        start = model(tokenization, dim=8)
        (work / f"{layout}-start").mkdir()
        start.save(work / f"{layout}-start")
        convert_checkpoint(str(work / f"{layout}-start"), work / f"{layout}-losses", layout)
        peer.run(script, work / f"{layout}-losses", work / "batch.json", work / f"{layout}.safetensors")
        kept["projection"] = start.projection.weight.detach().numpy()
        for name, value in load_file(work / f"{layout}.safetensors").items():
            if name.endswith((".loss", *KEPT)):
                kept[f"{layout}/{name}"] = value
    np.savez_compressed(DATA / "losses.npz", **kept)


if __name__ == "__main__":
    main()
