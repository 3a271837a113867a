"""Stage: how much effectiveness each step from exact MaxSim to a search engine's ranking costs, and which queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Node
from colbertv2.artifacts.stage import stage
from colbertv2.data.queries import Queries
from colbertv2.indexing.embeddings import Embeddings
from colbertv2.runtime import Runtime
from colbertv2.schema import PositiveInt, Seed
from colbertv2.search.engine import Engine
from colbertv2.search.scoring import ranking_of

if TYPE_CHECKING:
    import pandas as pd

    from colbertv2.search.scoring import Found


@stage(version=5)
def run(
    index: Artifact,
    unprojected: Artifact | None,
    queries: Queries,
    engine: Engine,
    *,
    depth: PositiveInt,
    measure: str,
    seed: Seed,
    out: Path,
    runtime: Runtime,
) -> None:
    """Rank and evaluate the documents at each of the ``STEPS`` of :mod:`colbertv2.analysis.decomposition`.

    Writes ``decomposition.csv`` (``query_id`` and one column per step), ``decomposition.md`` and the figure
    ``decomposition`` as ``.png`` and ``.svg``.

    Args:
        index: an index whose codec has centroids; the embeddings it was built from must still exist.
        unprojected: embeddings of the same documents by the checkpoint of the stage ``unprojected``; null omits this
            step.
        queries: queries with relevance judgements.
        engine: the engine that is evaluated last.
        depth: number of documents per ranking.
        measure: in the notation of ir_measures.
        seed: the seed of the resampling.
    """
    import pandas as pd

    from colbertv2.analysis.decomposition import Uncompressed, changes, search_steps
    from colbertv2.evaluation.measures import evaluate
    from colbertv2.evaluation.protocols import judged
    from colbertv2.indexing.index import Index
    from colbertv2.modeling.attention import with_attention
    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.reporting.analysis_figures import draw_decomposition
    from colbertv2.reporting.analysis_reports import decomposition_report
    from colbertv2.search.exhaustive import search_decoded

    texts = list(queries)
    encoded, opened = index.parents["embeddings"], Index.open(index.path)
    embeddings = Embeddings.open(encoded.path)

    def evaluated(found: Sequence[Found]) -> pd.Series:
        ranked = ranking_of(dict(zip((query_id for query_id, _ in texts), found, strict=True)), embeddings.doc_ids)
        return evaluate(*judged(ranked, queries), [measure], depth)[measure]

    def vectors(of: Artifact) -> list[np.ndarray]:
        loaded = ColBERT.load(of.ancestor("checkpoint").path)
        model = with_attention(loaded, runtime.attention).to(runtime.torch_device)
        asked = [text for _, text in texts]
        return model.encode_queries(asked, runtime.batch_tokens, prompt=queries.prompt, maxlen=queries.maxlen)

    columns, first = {}, "projected"
    if unprojected is not None:
        wide = Embeddings.open(unprojected.path)
        columns["unprojected"] = evaluated(search_decoded(Uncompressed(wide), vectors(unprojected), depth))
    asked = vectors(encoded)
    if all_tokens := encoded.parents.get("embeddings"):
        columns["projected"] = evaluated(search_decoded(Uncompressed(Embeddings.open(all_tokens.path)), asked, depth))
        first = "reduced"
    steps = search_steps(opened, embeddings, engine, asked, depth)
    steps = {first: steps.pop("projected"), **steps}
    values = pd.DataFrame(columns | {step: evaluated(found) for step, found in steps.items()})
    table = changes(values, seed)
    values.to_csv(out / "decomposition.csv", lineterminator="\n")
    draw_decomposition(values, table, measure, out / "decomposition")
    text = decomposition_report(values, table, measure, opened.codec.label, str(engine), dict(texts))
    (out / "decomposition.md").write_text(text, encoding="utf-8")
    print(text)


def check(
    index: Node, unprojected: Node | None, queries: Queries, engine: object, depth: int, measure: str, **_: object
) -> Iterator[str]:
    """Check the measure, that the codec has centroids and the queries have judgements, and that the documents match."""
    from colbertv2.evaluation.measures import parse, unknown
    from colbertv2.evaluation.protocols import unjudgeable
    from colbertv2.indexing.sharded_index import analysis_problems

    yield from analysis_problems(index)
    parse([measure])
    for name, reason in unknown([measure], depth).items():
        yield f"measure is {name}, but {reason}; raise depth."
    if not index.bound["codec"].has_centroids:
        yield f"{type(index.bound['codec']).__name__} has no centroids, which this stage needs; use codec=residual."
    yield from unjudgeable(queries)
    if unprojected is not None:
        encoded = index.furthest("embeddings").bound, unprojected.bound
        if len({repr((one["documents"].identity(), one["document_maxlen"])) for one in encoded}) > 1:
            yield (
                "unprojected has other documents than the index, or another document_maxlen; encode both the same way."
            )
