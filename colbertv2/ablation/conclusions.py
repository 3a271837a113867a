"""State what a sweep shows, in generated sentences that claim no more than the statistics support.

A difference is stated only if its adjusted p is below .05. Otherwise, the sentence does not say that there is no
difference, but how large a true difference would have to be to be found.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.findings import Effects, Findings, Interaction
from colbertv2.evaluation.intervals import ConfidenceInterval
from colbertv2.evaluation.measurement import COSTS
from colbertv2.evaluation.measures import fraction, plain, signed
from colbertv2.evaluation.statistics import Contrast
from colbertv2.evaluation.variance import POWER

TRADED = ("bytes_per_token", "ms_per_query")  # costs that quality is compared with


def conclude(findings: Findings) -> list[str]:
    """The sentences on the first measure: effects, interactions, undominated cells, and what is not known.

    A complete factorial design is described by its main effects and interactions, any other sweep by its cells.
    """
    cells, measure = findings.cells, findings.cells.measures[0]
    effects = findings.effects[measure]
    factorial = len(cells.factors) > 1 and bool(effects.main)
    sentences = []
    if factorial:
        sentences += main_effect_sentences(effects, cells, measure)
        sentences += interaction_sentences(effects.interactions, measure)
        sentences += share_sentence(effects)
    else:
        if effects.explanation and (len(cells.factors) > 1 or not cells.baseline.covers(cells.collections)):
            sentences.append(effects.explanation)
        for cell in cells.others:
            if contrast := findings.comparisons[measure].get(cell.name):
                sentences.append(f"{against(cell, cells.baseline)}: {difference_of(contrast, measure, cells)}.")
    for cost in TRADED:
        sentences += pareto_sentence(cells, measure, cost)
    return sentences + unknown_sentences(cells)


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


def difference_of(contrast: Contrast, measure: str, cells: Cells) -> str:
    """``RR@10 is .028 lower (…)``, or that no difference was shown, and how large one would have been found."""
    mean = contrast.difference.mean
    if contrast.significant:
        found = f"{measure} is {amount(mean)} {'higher' if mean > 0 else 'lower'} ({evidence(contrast)})"
        return found + seed_doubt(contrast, cells)
    if not contrast.difference.mean and contrast.difference.error == 0:
        return f"no query differs in {measure}"
    return f"no difference in {measure} was shown ({signed(mean)}, {evidence(contrast)}); {detectability(contrast)}"


def evidence(contrast: Contrast) -> str:
    """The interval over queries and the p-value, as text."""
    return f"95 % interval {interval(contrast.difference.queries)}, Holm-adjusted p {probability(contrast.p)}"


def detectability(contrast: Contrast) -> str:
    """How large a true difference would have been found, as text."""
    if contrast.few_seeds:
        return "two seeds are too few to tell which true difference would have been found"
    if contrast.detectable is None:
        return (
            "it is not known which true difference would have been found, since there are too few queries for so many "
            "tests, or no query differs"
        )
    power = f"{POWER:.1f}".removeprefix("0")
    return f"a true difference of {amount(contrast.detectable)} would have been found with probability {power}"


def seed_doubt(contrast: Contrast, cells: Cells) -> str:
    """Why a difference may still be due to the seed, as text; empty if no interval over seeds includes 0."""
    difference = contrast.difference
    held = {
        f"{len(cells.training_seeds)} training seeds": difference.training,
        f"{len(cells.kmeans_seeds)} k-means seeds": difference.kmeans,
        "queries and seeds together": difference.combined if difference.training or difference.kmeans else None,
    }
    doubts = [f"the interval over {name} ({interval(found)})" for name, found in held.items() if found and 0 in found]
    if not doubts:
        return ""
    return (
        f"; but {' and '.join(doubts)} {'include' if len(doubts) > 1 else 'includes'} 0, so the difference may be due "
        "to the seed"
    )


def main_effect_sentences(effects: Effects, cells: Cells, measure: str) -> list[str]:
    """One sentence for each level other than the baseline's."""
    sentences = []
    for effect in effects.main:
        if effect.contrast:
            others = " and ".join(factor for factor in cells.factors if factor != effect.factor)
            pair = f"{effect.factor}={effect.level} against {cells.baseline.factors[effect.factor]}"
            found = difference_of(effect.contrast, measure, cells)
            sentences.append(f"{pair}, averaged over {others}: {found}.")
    return sentences


def interaction_sentences(interactions: Sequence[Interaction], measure: str) -> list[str]:
    """For each pair of factors, one sentence per interaction, or a sentence that no interaction was shown."""
    sentences = []
    for (first, second), group in groupby(interactions, key=lambda one: one.factors):
        family = list(group)
        shown = [one for one in family if one.contrast.significant]
        for one in shown:
            mean = one.contrast.difference.mean
            sentences.append(
                f"Interaction: {measure} of {first}={one.levels[0]} with {second}={one.levels[1]} is {amount(mean)} "
                f"{'higher' if mean > 0 else 'lower'} than the sum of their two effects ({evidence(one.contrast)})."
            )
        if not shown:
            least = min(one.contrast.p for one in family)
            hardest = max(family, key=lambda one: one.contrast.detectable or 0.0).contrast
            sentences.append(
                f"No interaction of {first} and {second} was shown (smallest Holm-adjusted p {probability(least)}); "
                f"{detectability(hardest)}."
            )
    return sentences


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
    single: Mapping[str, Sequence[str]] = {"training": cells.training_seeds, "k-means": cells.kmeans_seeds}
    names = [name for name, seeds in single.items() if len(seeds) == 1]
    if names:
        counted = " and ".join(f"one {name} seed" for name in names)
        sentences.append(f"There is only {counted}, so nothing is known about other {' and '.join(names)} seeds.")
    return sentences


def interval(found: ConfidenceInterval) -> str:
    """An interval as text: ``−.041 to −.015``."""
    return f"{signed(found.low)} to {signed(found.high)}"


def amount(value: float) -> str:
    """The absolute value as text, never zero.

    >>> amount(-0.0281), amount(0.0002)
    ('.028', 'less than .001')
    """
    return fraction(abs(value)) if abs(value) >= 0.0005 else "less than .001"


def probability(p: float) -> str:
    """A p-value as text, to follow the letter p.

    >>> probability(0.0312), probability(0.0002)
    ('= .031', '< .001')
    """
    return f"= {fraction(p)}" if p >= 0.001 else "< .001"
