"""The speed of encoding documents: this project, PyLate and colbert-ai, with the same weights and texts.

``python -m experiments.speed.encoding``: all-MiniLM-L6-v2 with a projection to 128 dimensions and the official
tokenization. Each system has its own batching. In every round each runs once, in a process of its own, one after the
other. Writes experiments/results/speed_encoding.md.
"""

import json
import shutil
import statistics
from pathlib import Path

import numpy as np

from colbertv2.interchange.conversion import convert_checkpoint
from colbertv2.reporting.rendering import markdown_rows
from experiments.agree.environments import ROOT, Ours, Peer
from experiments.agree.texts import AWKWARD, documents, model
from experiments.speed.limit import encoder_operations, matrix_product_rate

ROUNDS, THREADS, DOCUMENTS = 3, 2, 400


def prepare(work: Path) -> tuple[list[int], float]:
    """Write the checkpoint in each layout, and the documents.

    Returns:
        the number of tokens of every document, and the most tokens per second that this machine could encode.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    start = model()
    (work / "ours").mkdir()
    start.save(work / "ours")
    for layout in ("official", "pylate"):
        convert_checkpoint(str(work / "ours"), work / layout, layout)
    texts = documents(len(AWKWARD) + DOCUMENTS)[len(AWKWARD) :]
    (work / "documents.json").write_text(json.dumps({"threads": THREADS, "documents": texts}))
    tokens = [len(row) for row in start.tokenizer.document_ids(texts)]
    operations = encoder_operations(start.transformer.config, tokens, start.dim)
    return tokens, sum(tokens) / operations * matrix_product_rate(THREADS)


def main() -> None:
    """Measure, print, and write the table."""
    work = ROOT / "outputs" / "speed" / "encoding"
    systems = {"ours": Ours(), "PyLate 1.6.0": Peer("pylate"), "colbert-ai 0.2.22": Peer("colbert-ai")}
    scripts = dict(zip(systems, ("ours_encoding", "pylate_encoding", "colbert_ai_encoding"), strict=True))
    for peer in systems.values():
        peer.install()
    tokens, limit = prepare(work)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    vectors: dict[str, np.ndarray] = {}
    for number in range(ROUNDS):
        for name, peer in systems.items():
            out = work / f"{scripts[name]}.npz"
            peer.run(Path(__file__).parent / "systems" / f"{scripts[name]}.py", work, out)
            found = np.load(out)
            vectors[name] = found["vectors"]
            seconds[name].append(float(found["seconds"]))
            print(f"round {number}: {name}: {sum(tokens) / seconds[name][-1]:.0f} tokens/s", flush=True)
    lines = [
        "# Speed of encoding documents",
        "",
        f"`python -m experiments.speed.encoding`: {DOCUMENTS} functions of the standard library, {sum(tokens)} tokens "
        f"(mean {np.mean(tokens):.0f}, at most 180), {ROUNDS} rounds, {THREADS} threads, fp32. "
        f"At the rate of a plain fp32 matrix product, the limit on this machine is {limit:.0f} tokens/s.",
        "",
    ]
    body = []
    for name in systems:
        ratios = ", ".join(f"{theirs / ours:.2f}×" for ours, theirs in zip(seconds["ours"], seconds[name], strict=True))
        same = vectors[name].shape == vectors["ours"].shape
        difference = np.abs(vectors[name] - vectors["ours"]).max() if same else float("nan")
        rate = sum(tokens) / statistics.median(seconds[name])
        body.append([name, f"{rate:.0f}", ratios, f"{difference:.1e}"])
    header = ["system", "tokens/s (median)", "ours is faster by (each round)", "largest difference of a vector's value"]
    lines += markdown_rows(header, body, left=1, padded=False)
    (ROOT / "experiments" / "results" / "speed_encoding.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[-5:]))


if __name__ == "__main__":
    main()
