"""``python -m experiments.agree.peers.encoding_stored``: write tests/modeling/data/encoding.npz.

The file has the ids, masks, vectors and scores that colbert-ai and PyLate compute for a few texts with MiniLM. Run this
in the project's own Python; it calls the peers' scripts. Short lengths and 32 dimensions keep the file small.
tests/modeling/test_encoding_of_peers.py reads it.
"""

import dataclasses
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from colbertv2.interchange.conversion import convert_checkpoint
from experiments.agree.encoding import LITERAL
from experiments.agree.environments import ROOT, Peer
from experiments.agree.texts import AWKWARD, OFFICIAL, model

TOKENIZATION = dataclasses.replace(OFFICIAL, query_maxlen=12, document_maxlen=20)
TEXTS = [*LITERAL, *(text[:200] for text in AWKWARD), "How are strings joined?", "Return a copy, sorted by key."]


def main() -> None:
    """Run both peers and store their ids, masks, vectors and scores."""
    colbert_ai, pylate = Peer("colbert-ai"), Peer("pylate")
    stored = {"texts": np.array(json.dumps(TEXTS))}
    with TemporaryDirectory() as name:
        work = Path(name)
        (work / "ours").mkdir()
        ours = model(TOKENIZATION, dim=32)
        ours.save(work / "ours")
        stored["projection"] = ours.projection.weight.detach().numpy()
        for layout in ("official", "pylate"):
            convert_checkpoint(str(work / "ours"), work / layout, layout)
        texts = {"queries": TEXTS, "documents": TEXTS, "scored_queries": len(TEXTS), "scored_documents": len(TEXTS)}
        (work / "texts.json").write_text(json.dumps(texts))
        for peer in (colbert_ai, pylate):
            peer.install()
        colbert_ai.run("encoding_colbert_ai", work / "official", work / "texts.json", work / "official.npz")
        pylate.run("encoding_pylate", work / "pylate", work / "saved", work / "texts.json", work / "pylate.npz")
        for layout in ("official", "pylate"):
            with np.load(work / f"{layout}.npz") as found:
                stored |= {f"{layout}/{key}": found[key] for key in found.files if key != "padded_scores"}
    small = {key: value.astype(np.int32) if value.dtype == np.int64 else value for key, value in stored.items()}
    destination = ROOT / "tests" / "modeling" / "data" / "encoding.npz"
    destination.parent.mkdir(exist_ok=True)
    np.savez_compressed(destination, **small)


if __name__ == "__main__":
    main()
