"""Read and write training and ranking files in colbert-ai's layouts.

colbert-ai identifies passages by their line in ``collection.tsv`` and queries by whole numbers. So files that are
written for it have numbers as ids, and ``doc_ids.txt`` and ``query_ids.txt`` list our ids, one per line, in the order
of the numbers. Files that are read keep their ids, as strings.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from colbertv2.data.readers import Faults, is_id, lines
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.training.examples import Example, read_examples, teacher_score

DOC_IDS, QUERY_IDS = "doc_ids.txt", "query_ids.txt"
COLLECTION, QUERIES, EXAMPLES = "collection.tsv", "queries.tsv", "examples.json"


def write_official_examples(
    directory: Path,
    examples: Iterable[Example],
    queries: Iterable[tuple[str, str]],
    documents: Iterable[tuple[str, str]],
) -> int:
    """Write colbert-ai's training data and return the number of examples.

    The files are ``collection.tsv``, ``queries.tsv``, ``examples.json`` and the lists of ids.

    Args:
        directory: an existing directory; the caller removes it if this function fails.
        examples: the examples to write; teacher scores are included if an example has them.
        queries, documents: ``(id, text)``, with the title as part of the text; only ids are kept in memory.

    Raises:
        InputError: an example names an unknown query or document.
    """
    doc_numbers = write_numbered(directory / COLLECTION, directory / DOC_IDS, documents)
    query_numbers = write_numbered(directory / QUERIES, directory / QUERY_IDS, queries)
    numbered = renamed(examples, query_numbers, doc_numbers)
    with (directory / EXAMPLES).open("w", encoding="utf-8") as stream:
        count = 0
        for example in numbered:
            ids = list(map(int, example.documents))
            candidates = list(zip(ids, example.scores, strict=True)) if example.is_scored else ids
            stream.write(json.dumps([int(example.query_id), *candidates]) + "\n")
            count += 1
    return count


def read_official_examples(directory: Path) -> Iterator[Example]:
    """Iterate over the examples that :func:`write_official_examples` wrote to ``directory``, with our ids again."""
    names = [dict(enumerated(directory / file)) for file in (QUERY_IDS, DOC_IDS)]
    return renamed(read_examples(directory / EXAMPLES), *names)


def write_numbered(path: Path, ids_path: Path, texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Write ``number<TAB>text`` lines and the ids, and return id → number; runs of whitespace become one space."""
    numbers: dict[str, str] = {}
    with path.open("w", encoding="utf-8") as stream, ids_path.open("w", encoding="utf-8") as ids:
        for number, (name, text) in enumerate(texts):
            numbers[name] = str(number)
            stream.write(f"{number}\t{' '.join(text.split())}\n")
            ids.write(f"{name}\n")
    return numbers


def enumerated(path: Path) -> Iterator[tuple[str, str]]:
    """Yield ``(number, id)`` for each line of a file of ids, numbers from 0 as strings."""
    faults = Faults(path)
    yield from ((str(number - 1), line) for number, line in lines(path, faults))
    faults.finish()


def renamed(
    examples: Iterable[Example], query_names: Mapping[str, str], doc_names: Mapping[str, str]
) -> Iterator[Example]:
    """Yield the examples with other ids, given as old id → new id.

    Raises:
        InputError: an id is in neither mapping.
    """
    for number, example in enumerate(examples, start=1):
        try:
            documents = [doc_names[doc] for doc in example.documents]
            yield Example(query_names[example.query_id], documents, example.scores)
        except KeyError as error:
            raise InputError(
                f"Example {number} names {error.args[0]!r}, which is neither among the {len(query_names)} queries nor "
                f"among the {len(doc_names)} documents; use the collection that the examples were made from."
            ) from None


def write_triples(path: Path, examples: Iterable[Example]) -> int:
    """Write one triple per negative, ``[query, positive, negative]``, and return their number.

    The file has JSON lines, or TSV if its suffix is ``.tsv``.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "triples.jsonl"
    >>> write_triples(file, [Example("q", ["a", "b", "c"], [3.0, 2.0, 1.0])])
    2
    >>> file.read_text().splitlines()[0]
    '["q", "a", "b"]'
    """
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for example in examples:
            for negative in example.documents[1:]:
                triple = [example.query_id, example.documents[0], negative]
                stream.write(("\t".join(triple) if path.suffix == ".tsv" else json.dumps(triple)) + "\n")
                count += 1
    return count


def write_ranking(path: Path, ranking: Ranking) -> None:
    """Write lines of ``query<TAB>document<TAB>rank<TAB>score``, with ranks from 1."""
    with path.open("w", encoding="utf-8") as stream:
        for query_id, found in ranking.items():
            for rank, (doc_id, score) in enumerate(found, start=1):
                stream.write(f"{query_id}\t{doc_id}\t{rank}\t{score:.9g}\n")


def read_ranking(path: Path) -> Ranking:
    """Read lines of ``query document rank [score] [label]``, separated by tabs.

    The ranks decide the order. If a query's scores fall strictly with the ranks, they are kept. Otherwise (there are
    none, or labels in their column) each document's score is minus its rank.

    Raises:
        InputError: with the lines that have another number of columns, an id that is empty or contains whitespace, or a
            rank that is not a whole number, or repeat a document or a rank of their query.
    """
    faults = Faults(path)
    found: dict[str, dict[int, tuple[str, float | None]]] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in lines(path, faults):
        columns = line.split("\t")
        try:
            query_id, doc_id, rank = columns[0], columns[1], int(columns[2])
            score = teacher_score(columns[3]) if len(columns) > 3 else None
            float(rank)  # it may become the score, so it must fit a float
        except (IndexError, ValueError, OverflowError):
            faults.add(number, f"expected query, document, rank and perhaps score between tabs, found {line[:60]!r}")
            continue
        ranks = found.setdefault(query_id, {})
        if wrong := [one for one in (query_id, doc_id) if not is_id(one)]:
            faults.add(number, f"the id {wrong[0]!r} is empty or contains whitespace")
        elif len(columns) > 5:
            faults.add(number, f"expected 3 to 5 columns (query, document, rank, score, label), found {len(columns)}")
        elif rank in ranks or (query_id, doc_id) in seen:
            faults.add(number, f"query {query_id!r} already has rank {rank} or document {doc_id!r}")
        ranks[rank] = doc_id, score
        seen.add((query_id, doc_id))
    faults.finish()
    return Ranking({query_id: falling(ranks) for query_id, ranks in found.items()})


def falling(ranks: Mapping[int, tuple[str, float | None]]) -> list[tuple[str, float]]:
    """Return ``(document, score)`` by rank; scores are minus the rank if any is missing or they do not fall with it."""
    ordered = sorted(ranks.items())
    scored = [(doc_id, score) for _, (doc_id, score) in ordered if score is not None]
    if len(scored) == len(ordered) and all(before > after for (_, before), (_, after) in pairwise(scored)):
        return scored
    return [(doc_id, -float(rank)) for rank, (doc_id, _) in ordered]
