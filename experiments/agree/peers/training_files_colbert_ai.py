"""Read training files with colbert-ai and save them again. Arguments: directory, checkpoint, the output (JSON).

The directory has ``collection.tsv``, ``queries.tsv``, ``examples.json``, ``triples.jsonl`` and ``ranking.tsv``.
"""

import json
import sys
from pathlib import Path

from colbert.data import Collection, Queries, Ranking
from colbert.data.examples import Examples
from colbert.infra import ColBERTConfig, Run, RunConfig
from colbert.training.lazy_batcher import LazyBatcher

directory, checkpoint, out = map(Path, sys.argv[1:])
paths = {name: str(directory / name) for name in ("collection.tsv", "queries.tsv", "examples.json", "triples.jsonl")}
examples = Examples(path=paths["examples.json"])
ranking = Ranking(path=str(directory / "ranking.tsv"))
found = {
    "collection": list(Collection(path=paths["collection.tsv"])),
    "queries": {str(key): text for key, text in Queries(path=paths["queries.tsv"]).items()},
    "examples": examples.tolist(),
    "triples": Examples(path=paths["triples.jsonl"], nway=2).tolist(),
    "ranking": ranking.tolist(),
}
config = ColBERTConfig.from_existing(
    ColBERTConfig.load_from_checkpoint(str(checkpoint)), ColBERTConfig(bsize=2, nway=4, accumsteps=1)
)
batch = next(iter(LazyBatcher(config, paths["examples.json"], paths["queries.tsv"], paths["collection.tsv"])))
(queries, passages, scores), *_ = batch
found["batch"] = {"queries": queries[0].tolist(), "passages": passages[0].tolist(), "scores": list(scores)}
with Run().context(RunConfig(root=str(directory), experiment="saved", overwrite=True)):
    examples.save("examples.json")
    ranking.save("ranking.tsv")
saved = {path.name: str(path) for path in (directory / "saved").rglob("*") if path.suffix in (".json", ".tsv")}
out.write_text(json.dumps({**found, "saved": saved}))
