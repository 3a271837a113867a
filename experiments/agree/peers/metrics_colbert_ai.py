"""Run colbert-ai's MS MARCO script. Arguments: qrels.tsv, ranking.tsv, the file for what it prints."""

import contextlib
import sys
from argparse import Namespace
from pathlib import Path

from utility.evaluate import msmarco_passages

qrels, ranking, out = sys.argv[1:]
with Path(out).open("w") as stream, contextlib.redirect_stdout(stream):
    msmarco_passages.main(Namespace(qrels=qrels, ranking=ranking, annotate=False))
