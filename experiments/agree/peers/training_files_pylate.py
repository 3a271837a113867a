"""Read training tables with PyLate. Arguments: directory of Parquet tables, the output (JSON)."""

import json
import sys
from pathlib import Path

import datasets
from pylate import utils

directory, out = map(Path, sys.argv[1:])
tables = {
    name: datasets.load_dataset(
        "parquet", data_files=str(directory / f"{name}.parquet"), split="train", cache_dir=str(directory / "cache")
    )
    for name in ("train", "queries", "documents")
}
train = tables["train"]
train.set_transform(utils.KDProcessing(queries=tables["queries"], documents=tables["documents"]).transform)
Path(out).write_text(json.dumps([train[place] for place in range(len(train))]))
# The same as JSON lines with lists as text, as PyLate's users write them.
tables["train"].reset_format()
with (directory / "train.jsonl").open("w") as stream:
    for row in tables["train"]:
        row |= {key: json.dumps(row[key]) for key in ("document_ids", "scores")}
        stream.write(json.dumps(row) + "\n")
