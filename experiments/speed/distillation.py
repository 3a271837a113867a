"""The speed of n-way distillation: this project, PyLate and Lightning IR, each with its own trainer.

``python -m experiments.speed.distillation``: all use the same weights (all-MiniLM-L6-v2, dropout 0), tuples, lengths,
optimizer and schedule, without markers and augmentation, in which the three differ. In every round each system runs
once, in a process of its own, one after the other; ratios are taken within a round, between runs close in time. Writes
experiments/results/speed_distillation.md.
"""

import json
import statistics
from itertools import islice
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT, Ours, Peer
from experiments.agree.texts import model
from experiments.speed.limit import encoder_operations, matrix_product_rate

ROUNDS, STEPS, BATCH, N, THREADS = 3, 12, 4, 8, 2
WARM_UP = 2  # steps at the start of each run that are not counted
LENGTHS = {"query_length": 32, "document_length": 176}


def tuples() -> list[dict]:
    """``STEPS`` batches of ``BATCH`` queries of the built-in collection, each with a positive and random documents."""
    generator = np.random.default_rng(0)
    source, documents = Queries("stdlib/train", None, 0.0), dict(Collection("stdlib"))
    ids, chosen = list(documents), list(islice(source, STEPS * BATCH))
    rows = []
    for query_id, query in chosen:
        others = [ids[place] for place in generator.choice(len(ids), N - 1, replace=False)]
        candidates = [source.qrels.relevant(query_id)[0], *others]
        rows.append((query, candidates, generator.normal(size=N).round(3).tolist()))
    return [
        {
            "queries": [query for query, _, _ in batch],
            "ids": [candidate for _, candidates, _ in batch for candidate in candidates],
            "documents": [documents[candidate] for _, candidates, _ in batch for candidate in candidates],
            "scores": [scores for _, _, scores in batch],
        }
        for batch in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
    ]


def prepare(work: Path) -> dict[str, float]:
    """Write the weights and tuples that every system reads.

    Returns:
        ``mean`` and ``padded``: tokens per document, without and with padding; ``limit``: the least seconds per step;
        ``operations``: per step.
    """
    start = model(Tokenization(LENGTHS["query_length"], LENGTHS["document_length"], None, None, False, False, True))
    start.transformer.config.hidden_dropout_prob = start.transformer.config.attention_probs_dropout_prob = 0.0
    start.transformer.save_pretrained(work / "backbone")
    start.tokenizer.tokenizer.save_pretrained(work / "backbone")
    save_file({"linear.weight": start.projection.weight.detach().contiguous()}, work / "projection.safetensors")
    batches = tuples()
    settings = {**LENGTHS, "threads": THREADS, "learning_rate": 1e-5, "batches": batches}
    (work / "tuples.json").write_text(json.dumps(settings))
    documents = [[len(row) for row in start.tokenizer.document_ids(step["documents"])] for step in batches]
    queries = [[len(row) for row in start.tokenizer.query_ids(step["queries"])] for step in batches]
    operations = 3 * encoder_operations(start.transformer.config, np.concatenate(documents + queries), start.dim)
    return {
        "mean": float(np.mean(documents)),
        "padded": float(np.mean(np.max(documents, axis=1))),
        "limit": operations / STEPS / matrix_product_rate(THREADS),
        "operations": operations / STEPS,
    }


def main() -> None:
    """Measure, print, and write the table."""
    work = ROOT / "outputs" / "speed" / "distillation"
    work.mkdir(parents=True, exist_ok=True)
    lengths = prepare(work)
    systems = {"ours": Ours(), "PyLate 1.6.0": Peer("pylate"), "Lightning IR 0.0.6": Peer("lightning-ir")}
    scripts = dict(zip(systems, ("ours", "pylate_system", "lightning_ir_system"), strict=True))
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    losses: dict[str, list[float]] = {}
    for peer in systems.values():
        peer.install()
    for number in range(ROUNDS):
        for name, peer in systems.items():
            out = work / f"{scripts[name]}.json"
            script = Path(__file__).parent / "systems" / f"{scripts[name]}.py"
            peer.run(script, work, out)
            found = json.loads(out.read_text())
            losses[name] = found["losses"]
            seconds[name].append(statistics.median(np.diff(found["ends"])[WARM_UP:]))
            print(f"round {number}: {name}: {seconds[name][-1]:.3f} s per step", flush=True)
    lines = [
        "# Steps per second of distillation",
        "",
        f"`python -m experiments.speed.distillation`: {BATCH} queries × {N} documents per step, {STEPS} steps, "
        f"{ROUNDS} rounds, {THREADS} threads, fp32, AdamW, dropout 0. Documents have {lengths['mean']:.0f} tokens on "
        f"average (at most {LENGTHS['document_length']}), or {lengths['padded']:.0f} when padded to the longest of a "
        f"batch. A step without padding has {lengths['operations'] / 1e9:.0f}e9 operations, which take at least "
        f"{lengths['limit']:.2f} s at the rate of a plain fp32 matrix product on this machine.",
        "",
    ]
    body = []
    for name in systems:
        ratios = ", ".join(f"{theirs / ours:.2f}×" for ours, theirs in zip(seconds["ours"], seconds[name], strict=True))
        difference = np.abs(np.subtract(losses[name], losses["ours"])).max()
        body.append([name, f"{statistics.median(seconds[name]):.3f}", ratios, f"{difference:.1e}"])
    header = ["system", "seconds a step (median)", "ours is faster by (each round)", "largest difference of the loss"]
    lines += markdown_rows(header, body, left=1, padded=False)
    (ROOT / "experiments" / "results" / "speed_distillation.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[-5:]))


if __name__ == "__main__":
    main()
