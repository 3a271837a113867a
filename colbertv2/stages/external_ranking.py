"""Stage: a ranking from outside, as candidates to mine from or to evaluate."""

from collections import Counter
from pathlib import Path

from colbertv2.artifacts.stage import stage
from colbertv2.data.collection import Collection
from colbertv2.data.file import File
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt


@stage(version=1)
def run(
    file: File, documents: Collection, queries: Queries, *, depth: PositiveInt, out: Path, runtime: Runtime
) -> None:
    """Write the first ``depth`` documents of each of ``queries`` as ``run.trec``.

    Args:
        file: a TREC run (six columns), or colbert-ai's ``query document rank [score]`` if its name ends in ``.tsv``.

    Raises:
        InputError: a line is malformed, no query of the file is known, or a document is unknown.
    """
    from colbertv2.interchange.training_files import read_ranking

    found = read_ranking(file.path) if file.path.suffix == ".tsv" else Ranking.read(file.path)
    known = {query_id: found[query_id][:depth] for query_id, _ in queries if query_id in found}
    if not known:
        raise InputError(
            f"{file.path} ranks {len(found)} queries, none of them among the {len(queries)} of {queries.id}."
        )
    unknown = Counter(documents.missing(list({doc_id for results in known.values() for doc_id, _ in results})))
    if unknown:
        raise InputError(
            f"{file.path} names {len(unknown)} documents that {documents.id} has not, such as {next(iter(unknown))!r}."
        )
    Ranking(known).write(out / "run.trec", tag=out.name)
