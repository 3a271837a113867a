"""Stage: training examples from outside, such as the released 64-way ones; checked against the collection."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.training.examples import EXAMPLES_FILE, Example, read_examples, write_examples

AT_ONCE = 1000
EXAMPLES = "examples"  # the other counts are of what was left out
logger = logging.getLogger(__name__)


@stage(version=2)
def run(file: File, documents: Collection, queries: Queries, *, out: Path, runtime: Runtime) -> None:
    """Copy the examples of ``file`` (any layout of ``Examples``), streamed and cleaned.

    Left out are negatives that are the example's positive, that stand there already, or that the collection has not;
    and examples of an unknown query or positive, and those that lost all their negatives so. One that never had any
    stays: in-batch negatives may be all that it needs. A warning gives the numbers, and so does ``cleaning.json``.
    An example that has fewer negatives than a step takes is left out by the training, whatever its ``n_way``.

    Raises:
        InputError: a line is malformed, or no example is left.
    """
    counts = Counter({EXAMPLES: 0})
    kept = cleaned(read_examples(file.path), documents, queries, counts)
    count = write_examples(out / EXAMPLES_FILE, runtime.bar(kept, "examples", "examples"))
    left_out = ", ".join(f"{number:,} {what}" for what, number in counts.items() if what != EXAMPLES)
    if not count:
        raise InputError(
            f"{file.path} holds no example for {queries.id} and {documents.id}"
            + (f": of {counts[EXAMPLES]:,} examples, left out were {left_out}." if left_out else ".")
        )
    if left_out:
        logger.warning("%s: of %s examples, left out were %s.", file.path, f"{counts[EXAMPLES]:,}", left_out)
    write_json(out / "cleaning.json", {**counts, "kept": count})


def cleaned(
    examples: Iterable[Example], documents: Collection, queries: Queries, counts: Counter[str]
) -> Iterator[Example]:
    """The examples without what can't be learned from, which is counted, as all examples are."""
    iterator = iter(examples)
    while block := list(islice(iterator, AT_ONCE)):
        counts[EXAMPLES] += len(block)
        unknown = set(documents.missing(list({doc for example in block for doc in example.documents})))
        for example in block:
            if example.query_id not in queries.by_id:
                counts["examples of unknown queries"] += 1
            elif example.documents[0] in unknown:
                counts["examples with unknown positives"] += 1
            elif (one := without_repetitions(example, unknown, counts)).documents[1:] or not example.documents[1:]:
                yield one
            else:
                counts["examples without negatives"] += 1


def without_repetitions(example: Example, unknown: set[str], counts: Counter[str]) -> Example:
    """The example with each known document once, the positive first; the others are counted."""
    kept: dict[str, float | None] = {}
    for document, score in zip(example.documents, example.scores, strict=True):
        if document in unknown:
            counts["unknown negatives"] += 1
        elif document not in kept:
            kept[document] = score
        elif document == example.documents[0]:
            counts["negatives that are the positive"] += 1
        else:
            counts["repeated negatives"] += 1
    return Example(example.query_id, [*kept], [*kept.values()])
