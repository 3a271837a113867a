"""State what a sweep shows, in generated sentences that claim no more than the statistics support.

A difference is stated only if its adjusted p is below .05. Otherwise, the sentence does not say that there is no
difference, but how large a true difference would have to be to be found. If what differs was trained, a sentence says
whether it is about these models or about their recipes.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.findings import Effects, Findings, Interaction
from colbertv2.ablation.wording import (
    amount,
    detectability,
    difference_of,
    evidence,
    interval,
    leading_words,
    mean_of,
    probability,
    seed_claim,
)
from colbertv2.evaluation.across import FEW_COLLECTIONS, Summary
from colbertv2.evaluation.measurement import COSTS
from colbertv2.evaluation.measures import fraction, plain, signed

SAME_COST = 1.01  # costs within this ratio are the same


def conclude(findings: Findings) -> list[str]:
    """The sentences on the first measure: effects, interactions, undominated cells, and what is not known.

    A complete factorial design is described by its main effects and interactions, any other sweep by its cells.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    effects = findings.effects[measure]
    factorial = len(cells.factors) > 1 and bool(effects.main)
    sentences = leading_words(cells)
    if factorial:
        sentences += main_effect_sentences(effects, cells, measure)
        sentences += interaction_sentences(effects.interactions, cells, measure)
        sentences += share_sentence(effects)
    else:
        if effects.explanation and (len(cells.factors) > 1 or not cells.baseline.covers(cells.collections)):
            sentences.append(effects.explanation)
        for cell in cells.others:
            if contrast := findings.comparisons[measure].get(cell.name):
                sentences.append(
                    f"{against(cell, cells.baseline)}: {difference_of(contrast, mean_of(measure, cells), cells)}."
                )
    sentences += collection_sentences(findings, measure)
    for cost in traded(cells):
        sentences += pareto_sentence(cells, measure, cost)
    return sentences + unknown_sentences(cells)


def traded(cells: Cells) -> tuple[str, str]:
    """The costs that quality is compared with: bytes and milliseconds.

    The bytes are per token, as in the papers. They are per document if cells with the same bytes per token differ in
    these: such cells keep other numbers of vectors or of centroids.
    """
    sizes: dict[float, list[float]] = {}
    for cell in cells.complete:
        if "bytes_per_token" in cell.costs and "bytes_per_document" in cell.costs:
            sizes.setdefault(cell.costs["bytes_per_token"], []).append(cell.costs["bytes_per_document"])
    differ = any(max(found) > SAME_COST * min(found) for found in sizes.values())
    return "bytes_per_document" if differ else "bytes_per_token", "ms_per_query"


def against(cell: Cell, baseline: Cell) -> str:
    """The names of two cells, reduced to the factors in which they differ.

    >>> against(Cell({"bits": "1", "k": "9"}, {}, {}, None, ""), Cell({"bits": "2", "k": "9"}, {}, {}, None, ""))
    'bits=1 against 2'
    """
    apart = [factor for factor, value in cell.factors.items() if baseline.factors[factor] != value]
    if len(apart) == 1:
        return f"{apart[0]}={cell.factors[apart[0]]} against {baseline.factors[apart[0]]}"
    return " against ".join(
        ", ".join(f"{factor}={one.factors[factor]}" for factor in apart) for one in (cell, baseline)
    )


def main_effect_sentences(effects: Effects, cells: Cells, measure: str) -> list[str]:
    """One sentence for each level other than the baseline's."""
    sentences = []
    for effect in effects.main:
        if effect.contrast:
            others = " and ".join(factor for factor in cells.factors if factor != effect.factor)
            pair = f"{effect.factor}={effect.level} against {cells.baseline.factors[effect.factor]}"
            found = difference_of(effect.contrast, mean_of(measure, cells), cells)
            sentences.append(f"{pair}, averaged over {others}: {found}.")
    return sentences


def interaction_sentences(interactions: Sequence[Interaction], cells: Cells, measure: str) -> list[str]:
    """For each pair of factors, one sentence per interaction, or a sentence that no interaction was shown."""
    sentences = []
    for (first, second), group in groupby(interactions, key=lambda one: one.factors):
        family = list(group)
        shown = [one for one in family if one.contrast.significant]
        for one in shown:
            mean = one.contrast.difference.mean
            sentences.append(
                f"Interaction: {mean_of(measure, cells)} of {levels_of(one)} is {amount(mean)} "
                f"{'higher' if mean > 0 else 'lower'} than the sum of their two effects ({evidence(one.contrast)})"
                f"{seed_claim(one.contrast, cells)}."
            )
        if not shown:
            least = min(one.contrast.p for one in family)
            known = [one for one in family if one.contrast.detectable is not None]
            hardest = max(known or family, key=lambda one: one.contrast.detectable or 0.0).contrast
            blind = [levels_of(one) for one in family if one not in known] if known else []
            sentences.append(
                f"No interaction of {first} and {second} was shown (smallest Holm-adjusted p {probability(least)}); "
                f"{detectability(hardest)}"
                + (f"; of {' and of '.join(blind)} nothing can be shown, as too few queries differ." if blind else ".")
            )
    return sentences


def levels_of(one: Interaction) -> str:
    """The two levels of an interaction, as text."""
    (first, second), (a, b) = one.factors, one.levels
    return f"{first}={a} with {second}={b}"


def collection_sentences(findings: Findings, measure: str) -> list[str]:
    """For each cell of a sweep on several collections, two sentences on how far these agree; else none."""
    cells = findings.cells
    return [
        f"{against(cell, cells.baseline)}, collection by collection: {sentence}"
        for cell in cells.others
        if (found := findings.summaries.get(measure, {}).get(cell.name))
        for sentence in summary_sentences(found, measure)
    ]


def summary_sentences(found: Summary, measure: str) -> list[str]:
    """How many collections agree, and what they say of a further one."""
    number, shown, signs = found.collections, found.shown, found.signs
    counts = (
        f"{measure} is shown to be higher on {shown.wins} of {number} and lower on {shown.losses} (Holm-adjusted over "
        f"all settings and collections); by sign alone it is higher on {signs.wins}, equal on {signs.ties} and lower "
        f"on {signs.losses}."
    )
    if (effects := found.random_effects) is None:
        return [counts]
    further = f", and on a further collection from {interval(effects.prediction)}" if effects.prediction else ""
    few = number < FEW_COLLECTIONS
    caution = f"; {number} collections tell very little about others, as τ is estimated from {number} numbers"
    return [
        counts,
        f"if these were drawn from many collections, the mean difference would be {signed(effects.mean)} (95 % "
        f"interval {interval(effects.interval)}){further}. The true differences vary between collections with a "
        f"standard deviation τ of {fraction(effects.tau)} (I² {effects.heterogeneity:.0%}, Q "
        f"{plain(effects.q, 1)}, p {probability(effects.p)}){caution if few else ''}.",
    ]


def share_sentence(effects: Effects) -> list[str]:
    """A sentence with the share of the variation between cells that each set of factors explains, largest first."""
    if not effects.shares:
        return []
    ordered = sorted(effects.shares.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{' × '.join(factors)} {share:.0%}" for factors, share in ordered if share >= 0.005)
    return [f"Shares of the sum of squares between the cells' means (including their noise): {listed}."]


def pareto(cells: Iterable[Cell], measure: str, cost: str) -> list[Cell]:
    """The cells that no other dominates, that is, no other is at least as good and as cheap, and better in one of them.

    Args:
        cells: cells without values or without this cost are left out.
        measure: compared by its mean; higher is better.
        cost: the key of ``Cell.costs``; lower is better.

    Returns:
        The cells that are not dominated, by rising cost.
    """
    known = [cell for cell in cells if cell.values and cost in cell.costs]
    points = {cell.name: (-cell.mean(measure), cell.costs[cost]) for cell in known}
    undominated = [
        cell
        for cell in known
        if not any(
            other != points[cell.name] and all(a <= b for a, b in zip(other, points[cell.name], strict=True))
            for other in points.values()
        )
    ]
    return sorted(undominated, key=lambda cell: cell.costs[cost])


def pareto_sentence(cells: Cells, measure: str, cost: str) -> list[str]:
    """A sentence on the cells that are not dominated; none if fewer than two cells have this cost."""
    known = [cell for cell in cells.complete if cost in cell.costs]
    if len(known) < 2:
        return []
    left = pareto(known, measure, cost)
    listed = "; ".join(f"{cell.name} ({plain(cell.costs[cost], 1)}, {fraction(cell.mean(measure))})" for cell in left)
    counted = f"{len(left)} of {len(known)} cells {'is' if len(left) == 1 else 'are'}"
    return [f"{measure} against {COSTS[cost].words}: {counted} not dominated (comparing means): {listed}."]


def unknown_sentences(cells: Cells) -> list[str]:
    """Sentences on cells without values, and on kinds of seeds of which there is only one."""
    sentences = []
    if lacking := len(cells.cells) - len(cells.complete):
        sentences.append(f"{lacking} of {len(cells.cells)} cells {'has' if lacking == 1 else 'have'} no values.")
    single = {"training": cells.training_seeds} | ({} if cells.kmeans_follows else {"k-means": cells.kmeans_seeds})
    names = [name for name, seeds in single.items() if len(seeds) == 1]
    if names:
        counted = " and ".join(f"one {name} seed" for name in names)
        sentences.append(f"There is only {counted}, so nothing is known about other {' and '.join(names)} seeds.")
    if cells.kmeans_follows:
        sentences.append(
            "Training and k-means seeds moved together (kmeans_seed follows seed unless it is set), so their effects "
            "can't be told apart."
        )
    return sentences
