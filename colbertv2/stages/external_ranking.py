"""Stage: import a ranking, to evaluate it or to use it as candidates."""

import logging
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.files import write_json
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt

logger = logging.getLogger(__name__)


@stage(version=2, provides=["imported_ranking"])
def run(
    file: File, documents: Collection, queries: Queries, *, depth: PositiveInt, out: Path, runtime: Runtime
) -> None:
    """Write the first ``depth`` known documents of each of ``queries`` as ``run.trec``.

    Unknown queries and documents are left out. Their numbers are logged as a warning and written to ``left_out.json``:
    {"queries", "documents"}.

    Args:
        file: a TREC run (six columns), or colbert-ai's ``query document rank [score]`` if its name ends in ``.tsv``.
        documents: the collection.
        queries: the queries to keep.
        depth: maximum number of documents per query.

    Raises:
        InputError: a line is malformed, or no query or no document of the file is known.
    """
    from colbertv2.interchange.training_files import read_ranking

    found = read_ranking(file.path) if file.path.suffix == ".tsv" else Ranking.read(file.path)
    asked = found.of(query_id for query_id, _ in queries)
    if not asked:
        raise InputError(
            f"{file.path} ranks {len(found)} queries, none of them among the {len(queries)} of {queries.id}."
        )
    ranked = {doc_id for results in asked.values() for doc_id, _ in results}
    unknown = set(documents.missing(sorted(ranked)))
    if unknown == ranked:
        raise InputError(
            f"{file.path} names {len(ranked)} documents, none of them among those of {documents.id}, such as "
            f"{min(unknown)!r}."
        )
    if unknown or len(asked) < len(found):
        logger.warning(
            "%s: %s of %s queries are not among those of %s, and %s of %s documents are not in %s; they are left out.",
            file.path, f"{len(found) - len(asked):,}", f"{len(found):,}", queries.id,
            f"{len(unknown):,}", f"{len(ranked):,}", documents.id,
        )  # fmt: skip
    known = {query_id: [one for one in results if one[0] not in unknown] for query_id, results in asked.items()}
    Ranking(known, asked.tied_beyond).top(depth).write(out / "run.trec", tag=out.name)
    write_json(out / "left_out.json", {"queries": len(found) - len(asked), "documents": len(unknown)})
