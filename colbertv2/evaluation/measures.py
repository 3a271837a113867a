"""Effectiveness measures per query, computed by ``ir_measures`` and named as there (``RR@10``, ``nDCG@10``).

Also formats values for readers: a measure as ``.712``, a negative difference as ``−.028``, a missing number as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, NamedTuple

from colbertv2.errors import InputError
from colbertv2.evaluation.ranking import Ranking
from colbertv2.evaluation.ties import EXPECTED, crossing, expected_value, has_expected, open_ended
from colbertv2.schema import LARGEST

if TYPE_CHECKING:
    import ir_measures
    import pandas as pd

NOTHING = "–"
TIES = "ties='expected'"


class Measure(NamedTuple):
    """A measure of ``ir_measures``, or its expected value over all orders of tied documents.

    Args:
        measure: the measure.
        expected: whether the expected value is meant.
    """

    measure: ir_measures.Measure
    expected: bool

    @property
    def cutoff(self) -> int | None:
        """How many documents of a ranking the measure looks at; None if it looks at all."""
        return self.measure.params.get("cutoff")


def evaluate(
    ranking: Ranking,
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str],
    depth: int | None = None,
) -> pd.DataFrame:
    """Compute every measure for every judged query.

    Every measure uses the ranking's own order (``Ranking`` breaks ties as trec_eval does), no matter which tool
    computes it. A judged query that is missing from the ranking counts as zero; a query without judgements is ignored.

    With the parameter ``ties='expected'``, as in ``RR(ties='expected')@10``, a measure is its mean over all orders of
    the documents with equal scores (:mod:`colbertv2.evaluation.ties`). RR, R, P, Success and nDCG take this parameter.

    Args:
        ranking: the results of one system.
        qrels: query id → {document id: grade}.
        measures: names in the notation of ``ir_measures``.
        depth: the most documents that the ranking keeps per query; None if it was not cut off. A measure with a larger
            cut-off is unknown (``unknown``): NaN for all queries. A measure without a cut-off (``RR``, ``AP``) is
            computed over the documents that were kept, as is usual (trec_eval's AP is that of the run it is given).

    Returns:
        one row per judged query (index ``query_id``, in the order of ``qrels``), one column per measure (as named).

    Raises:
        InputError: a measure is invalid (all invalid ones are named), there are no judgements, or a grade is above 4
            with ERR or ``nDCG(dcg='exp-log2')``.

    >>> evaluate(Ranking({"q": [("a", 2.0), ("b", 1.0)]}), {"q": {"b": 1}}, ["RR@10"])["RR@10"].to_dict()
    {'q': 0.5}
    >>> tied = Ranking({"q": [("a", 1.0), ("b", 1.0)]})
    >>> evaluate(tied, {"q": {"a": 1}}, ["RR@10", "RR(ties='expected')@10", "R@50"], depth=10).loc["q"].tolist()
    [0.5, 0.75, nan]
    """
    import ir_measures
    import pandas as pd

    parsed = parse(measures)
    if not qrels:
        raise InputError("There are no judgements to evaluate against; expected at least one judged query.")
    # Use −rank as the score: the tools that ir_measures calls break ties in different ways. Number the queries and the
    # documents: gdeval reads only query ids that are numbers, and no id of a judged document that contains a space.
    query_ids = list(qrels)
    numbers = {query_id: str(number) for number, query_id in enumerate(query_ids)}
    run: dict[str, dict[str, float]] = {}
    judgements: dict[str, dict[str, int]] = {}
    for query_id, grades in qrels.items():
        found = [doc_id for doc_id, _ in ranking.get(query_id, ())]
        documents = {doc_id: f"d{number}" for number, doc_id in enumerate(dict.fromkeys([*found, *grades]))}
        if query_id in ranking:
            run[numbers[query_id]] = {documents[doc_id]: -float(rank) for rank, doc_id in enumerate(found)}
        # trec_eval's nDCG may never end, nor let other threads run, if all grades of a query are negative. A 0 in their
        # place changes no measure: there is no relevant document either way.
        sensible = grades if max(grades.values(), default=0) >= 0 else dict.fromkeys(grades, 0)
        judgements[numbers[query_id]] = {documents[doc_id]: grade for doc_id, grade in sensible.items()}
    frame = pd.DataFrame(0.0, index=pd.Index(query_ids, name="query_id"), columns=list(measures))
    plain_ones = [one.measure for one in parsed.values() if not one.expected]
    values: dict[str, dict[str, float]] = {str(measure): {} for measure in plain_ones}
    try:
        for metric in ir_measures.iter_calc(plain_ones, judgements, run) if plain_ones else ():
            values[str(metric.measure)][query_ids[int(metric.query_id)]] = float(metric.value)
    except CalledProcessError as error:  # of gdeval, the only tool that is a process of its own
        largest = max(grade for grades in qrels.values() for grade in grades.values())
        raise InputError(
            f"One of {', '.join(values)} is computed by gdeval, which takes grades up to 4 and failed; the largest "
            f"grade here is {largest}. Leave out ERR and nDCG(dcg='exp-log2'), or change the grades."
        ) from error
    for name, one in parsed.items():
        if one.expected:
            found = {
                query_id: expected_value(one.measure, ranking[query_id], qrels[query_id])
                for query_id in query_ids
                if query_id in ranking
            }
        else:
            found = values[str(one.measure)]
        frame[name] = pd.Series(found, dtype=float).reindex(frame.index).fillna(0.0)
    frame[list(unknown(measures, depth, ranking, qrels))] = math.nan
    return frame


def unknown(
    measures: Iterable[str],
    depth: int | None,
    ranking: Ranking | None = None,
    query_ids: Collection[str] = (),
) -> dict[str, str]:
    """Find the measures that can't be computed from a ranking of this depth: name → reason.

    Args:
        measures: names of measures; a name that ``ir_measures`` does not have counts as known.
        depth: the most documents that the ranking keeps per query; None if it was not cut off.
        ranking: the ranking, if it exists already. The expected value over tied documents is unknown if some of the
            tied documents were cut off.
        query_ids: the judged queries; needed with ``ranking``.

    >>> unknown(["R@10", "R@1000", "AP"], depth=20)
    {'R@1000': 'the ranking keeps 20 documents per query'}
    """
    found = {}
    for name in measures:
        if (one := parsed_measure(name)) is None:
            continue
        if depth is not None and one.cutoff is not None and one.cutoff > depth:
            found[name] = f"the ranking keeps {depth:,} documents per query"
        elif one.expected and ranking is not None and (open_queries := open_ended(ranking, query_ids, one.cutoff)):
            found[name] = (
                f"for {len(open_queries):,} queries documents tied with the last one may be missing; raise the depth"
            )
    return found


def tie_note(ranking: Ranking, query_ids: Collection[str], measures: Sequence[str]) -> str | None:
    """A sentence on the queries that have documents with equal scores on both sides of a cut-off; None if none has.

    >>> tie_note(Ranking({"q": [("b", 1.0), ("a", 1.0)]}), ["q"], ["RR@1", "AP"])
    'Ties across a cut-off: at 1 in 1 of 1 queries; of equal scores, the greater document id is first (trec_eval).'
    """
    cutoffs = {one.cutoff for one in parse(measures).values() if not one.expected}
    counts = {one: len(crossing(ranking, query_ids, one)) for one in sorted(cutoffs, key=lambda one: one or math.inf)}
    cuts = [
        f"at {'the depth' if cutoff is None else f'{cutoff:,}'} in {count:,}"
        for cutoff, count in counts.items()
        if count
    ]
    if not cuts:
        return None
    return (
        f"Ties across a cut-off: {', '.join(cuts)} of {len(query_ids):,} queries; "
        "of equal scores, the greater document id is first (trec_eval)."
    )


def length_note(ranking: Ranking, measures: Sequence[str]) -> str | None:
    """A sentence on the measures whose cut-off is larger than the ranking's longest list; None if there are none.

    >>> length_note(Ranking({"q": [("a", 1.0)]}), ["RR@1", "R@10"])
    'R@10: the ranking holds at most 1 documents per query; it may have been cut there.'
    """
    longest = max(map(len, ranking.values()), default=0)
    beyond = [name for name, one in parse(measures).items() if one.cutoff is not None and one.cutoff > longest]
    if not beyond:
        return None
    return (
        f"{', '.join(beyond)}: the ranking holds at most {longest:,} documents per query; it may have been cut there."
    )


def parse(measures: Sequence[str]) -> dict[str, Measure]:
    """Parse names of measures: name → measure.

    Raises:
        InputError: a measure is unknown, unsupported or repeated (all such measures are named), or none is given.
    """
    parsed: dict[str, Measure] = {}
    wrong: list[str] = []
    for name in measures:
        if (measure := parsed_measure(name)) is None or name in parsed:
            wrong.append(repr(name))
        else:
            parsed[name] = measure
    if wrong or not parsed:
        raise InputError(
            f"Unknown, unsupported or repeated measures: {', '.join(wrong) or 'the list is empty'}; "
            "expected names such as RR@10, nDCG@10, R@100, Success@5 (see https://ir-measur.es), or "
            f"RR(ties='expected')@10 (of {', '.join(EXPECTED)})."
        )
    return parsed


def parsed_measure(name: str) -> Measure | None:
    """Parse the name of one measure; None if it is unknown or not written exactly as ``ir_measures`` writes it.

    ``ties='expected'`` must be the first parameter.
    """
    import ir_measures

    expected = TIES in name
    usual = name.replace(f"({TIES})", "").replace(f"({TIES}, ", "(") if expected else name
    try:
        measure = ir_measures.parse_measure(usual)
        # With 0, pytrec_eval raises or kills the interpreter; with more than the largest array size it overflows.
        sensible = all(1 <= measure.params.get(key, 1) <= LARGEST for key in ("cutoff", "rel"))
        supported = sensible and ir_measures.DefaultPipeline.supports(measure) and str(measure) == usual
    except (AssertionError, NameError, TypeError, ValueError):  # ir_measures raises these for malformed names
        return None
    return Measure(measure, expected) if supported and (not expected or has_expected(measure)) else None


def fraction(value: float) -> str:
    """Format a value between 0 and 1 with three decimals and no leading zero; NaN becomes a dash.

    >>> fraction(0.7116), fraction(1.0), fraction(math.nan)
    ('.712', '1.000', '–')
    """
    if math.isnan(value):
        return NOTHING
    return f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def signed(value: float) -> str:
    """Format a difference like ``fraction``, with a minus sign if it is negative.

    A value that three decimals would make zero gets as many as show its sign, at most nine: whether an interval
    contains zero must be seen from its ends.

    >>> signed(-0.0281), signed(0.015), signed(-0.00036), signed(0.0)
    ('−.028', '.015', '−.0004', '.000')
    """
    if math.isnan(value):
        return NOTHING
    decimals = next((number for number in range(3, 10) if round(abs(value), number)), 3)
    shown = f"{abs(value):.{decimals}f}"
    return ("−" if round(value, decimals) < 0 else "") + (shown.removeprefix("0") if abs(value) < 1 else shown)


def plain(value: float, decimals: int) -> str:
    """Format a number with thousands separators and ``decimals`` decimals; None and NaN become a dash."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{decimals}f}"
