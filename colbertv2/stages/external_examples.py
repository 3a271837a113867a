"""Stage: import training examples, such as the released 64-way ones, and check them against the collection."""

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
from colbertv2.interchange.tuple_tables import TupleTable
from colbertv2.runtime import Runtime
from colbertv2.training.examples import EXAMPLES_FILE, Example, read_examples, write_examples

AT_ONCE = 1000
EXAMPLES = "examples"  # counts all examples; the other counters count what is left out
logger = logging.getLogger(__name__)


@stage(version=2)
def run(file: File | TupleTable, documents: Collection, queries: Queries, *, out: Path, runtime: Runtime) -> None:
    """Copy the examples of ``file``, streamed and cleaned.

    These negatives are left out: those that are the example's positive, repeated ones, and those missing from the
    collection. These examples are left out: those of an unknown query or positive, and those that lose all their
    negatives in this way. An example that never had negatives is kept, since in-batch negatives may be enough. The
    numbers are logged as a warning and written to ``cleaning.json``. Training itself leaves out examples with fewer
    negatives than a step takes, for any ``n_way``.

    Args:
        file: examples in any layout that :class:`~colbertv2.training.examples.Examples` reads, or a table of tuples of
            Hugging Face ``datasets``.
        documents: the collection.
        queries: the training queries.

    Raises:
        InputError: a line is malformed, or no example is left.
    """
    counts = Counter({EXAMPLES: 0})
    given = read_examples(file.path) if isinstance(file, File) else file
    kept = cleaned(given, documents, queries, counts)
    count = write_examples(out / EXAMPLES_FILE, runtime.bar(kept, "examples", "examples"))
    left_out = ", ".join(f"{number:,} {what}" for what, number in counts.items() if what != EXAMPLES)
    if not count:
        raise InputError(
            f"{file.path} holds no example for {queries.id} and {documents.id}"
            + (f": of {counts[EXAMPLES]:,} examples, these were left out: {left_out}." if left_out else ".")
        )
    if left_out:
        logger.warning("%s: of %s examples, these were left out: %s.", file.path, f"{counts[EXAMPLES]:,}", left_out)
    write_json(out / "cleaning.json", {**counts, "kept": count})


def cleaned(
    examples: Iterable[Example], documents: Collection, queries: Queries, counts: Counter[str]
) -> Iterator[Example]:
    """Yield the examples after cleaning, as described at :func:`run`.

    Args:
        examples: the examples of the file.
        documents: the collection.
        queries: the training queries.
        counts: counts all examples and what is left out, updated in place.
    """
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
    """The example with each known document once, the positive first; counts what is left out in ``counts``."""
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
