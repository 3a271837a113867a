"""Effectiveness per query, by ``ir_measures`` and in its notation (``RR@10``, ``nDCG@10``), and how it is written.

For readers, values of measures are written as fractions (``.712``), differences with a minus sign (``−.028``), and
missing numbers as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.schema import LARGEST

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd

NOTHING = "–"


def evaluate(ranking: Ranking, qrels: Mapping[str, Mapping[str, int]], measures: Sequence[str]) -> pd.DataFrame:
    """The value of each measure for each judged query.

    The ranking's own order counts (``Ranking`` breaks ties as trec_eval does), whatever tool computes a measure.
    A judged query that the ranking lacks counts as zero; a ranked query without judgements does not count.

    Args:
        ranking: the results of one system.
        qrels: query id → {document id: grade}.
        measures: names in the notation of ``ir_measures``.

    Returns:
        one row per judged query (index ``query_id``, in the order of ``qrels``), one column per measure (as named).

    Raises:
        InputError: an unknown measure (all of them are named), or no judgements.

    >>> evaluate(Ranking({"q": [("a", 2.0), ("b", 1.0)]}), {"q": {"b": 1}}, ["RR@10"])["RR@10"].to_dict()
    {'q': 0.5}
    """
    import ir_measures
    import pandas as pd

    parsed = parse(measures)
    if not qrels:
        raise InputError("There are no judgements to evaluate against.")
    # Scores that fall by rank: the tools behind ir_measures break ties differently.
    run = {
        query_id: {doc_id: -float(rank) for rank, (doc_id, _) in enumerate(found)}
        for query_id, found in ranking.items()
        if query_id in qrels
    }
    judgements = {query_id: dict(grades) for query_id, grades in qrels.items()}
    frame = pd.DataFrame(0.0, index=pd.Index(list(qrels), name="query_id"), columns=list(measures))
    values: dict[str, dict[str, float]] = {name: {} for name in measures}
    for metric in ir_measures.iter_calc(list(parsed.values()), judgements, run):
        values[str(metric.measure)][metric.query_id] = float(metric.value)
    for name, measure in parsed.items():
        frame[name] = pd.Series(values[str(measure)]).reindex(frame.index).fillna(0.0)
    return frame


def parse(measures: Sequence[str]) -> dict[str, ir_measures.Measure]:
    """Name → measure.

    Raises:
        InputError: naming the measures that are unknown, unsupported or named twice.
    """
    import ir_measures

    parsed: dict[str, ir_measures.Measure] = {}
    wrong: list[str] = []
    for name in measures:
        try:
            measure = ir_measures.parse_measure(name)
            # At 0, pytrec_eval ends the interpreter or raises; beyond what an array can have it overflows.
            sensible = all(1 <= measure.params.get(key, 1) <= LARGEST for key in ("cutoff", "rel"))
            supported = sensible and ir_measures.DefaultPipeline.supports(measure)
            supported = supported and str(measure) == name and name not in parsed
        except (AssertionError, NameError, TypeError, ValueError):  # what ir_measures raises for the ways to be wrong
            supported = False
        if supported:
            parsed[name] = measure
        else:
            wrong.append(repr(name))
    if wrong or not parsed:
        raise InputError(
            f"Unknown, unsupported or repeated measures: {', '.join(wrong) or 'none is named'}; "
            "expected names such as RR@10, nDCG@10, R@100, Success@5 (see https://ir-measur.es)."
        )
    return parsed


def fraction(value: float) -> str:
    """A value between 0 and 1 with three decimals and without the leading zero.

    >>> fraction(0.7116), fraction(1.0)
    ('.712', '1.000')
    """
    return f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference, written like ``fraction``, with a minus sign if it is negative.

    >>> signed(-0.0281), signed(0.015), signed(-0.0001)
    ('−.028', '.015', '.000')
    """
    return ("−" if round(value, 3) < 0 else "") + fraction(abs(value))


def plain(value: float, decimals: int) -> str:
    """A number with separators of thousands and so many decimals; a dash if it is None or NaN."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{decimals}f}"
