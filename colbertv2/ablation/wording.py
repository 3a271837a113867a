"""Tell a difference in words that claim no more than its tests: of these models (†), or of their recipes too (‡)."""

from collections.abc import Mapping

from colbertv2.ablation.cells import Cells
from colbertv2.evaluation.across import MIXED
from colbertv2.evaluation.intervals import ConfidenceInterval
from colbertv2.evaluation.measures import fraction, signed
from colbertv2.evaluation.statistics import Contrast
from colbertv2.evaluation.variance import POWER

PROBABLY = f"with probability {POWER:.1f}".replace(" 0.", " .")
TWO_SEEDS = "two seeds are too few to tell which true difference would have been found"


def difference_of(contrast: Contrast, measure: str, cells: Cells) -> str:
    """``RR@10 is .028 lower (…)``, or that no difference was shown, and how large one would have been found.

    If what differs was trained, this is said of the models, and of their recipes as far as that was shown.
    """
    mean = contrast.difference.mean
    if contrast.significant:
        of = " of these models" if contrast.trained_apart and not contrast.significant_recipes else ""
        found = f"{measure}{of} is {amount(mean)} {'higher' if mean > 0 else 'lower'} ({evidence(contrast)})"
        return found + seed_claim(contrast, cells)
    if not contrast.differing and not mean:
        return f"no query differs in {measure}"
    return f"no difference in {measure} was shown ({signed(mean)}, {evidence(contrast)}); {detectability(contrast)}"


def evidence(contrast: Contrast) -> str:
    """The interval over queries and the p-value, as text."""
    few = f" (too narrow: only {queries(contrast.differing)} differ)" if contrast.narrow else ""
    return f"95 % interval {interval(contrast.difference.queries)}{few}, Holm-adjusted p {probability(contrast.p)}"


def detectability(contrast: Contrast) -> str:
    """How large a true difference would have been found, as text."""
    if contrast.detectable is None:
        return f"only {queries(contrast.differing)} differ, too few to show any difference in so many tests"
    found = f"a true difference of {amount(contrast.detectable)}"
    if not contrast.trained_apart:
        return f"{found} would have been found {PROBABLY}"
    found += f" between these models would have been found {PROBABLY}"
    if contrast.p_recipes is None:
        return f"{found}; with one training seed nothing is known of their recipes"
    if contrast.few_seeds:
        return f"{found}; of the recipes, {TWO_SEEDS}"
    assert contrast.detectable_recipes is not None
    return f"{found}, and one of {amount(contrast.detectable_recipes)} between their recipes"


def seed_claim(contrast: Contrast, cells: Cells) -> str:
    """What a difference of these models says of other seeds, as text; empty if nothing speaks against it."""
    if not contrast.trained_apart:
        return seed_doubt(contrast, cells)
    if contrast.p_recipes is None:
        return "; with one training seed this says nothing of other trainings by the same recipes"
    if contrast.significant_recipes:
        return f"; with other training seeds too (‡, Holm-adjusted p {probability(contrast.p_recipes)})"
    told = f"; with other training seeds no difference was shown (Holm-adjusted p {probability(contrast.p_recipes)})"
    if contrast.few_seeds:
        return f"{told}, but {TWO_SEEDS}"
    if contrast.detectable_recipes is None:
        return told
    return f"{told}, where one of {amount(contrast.detectable_recipes)} would have been found {PROBABLY}"


def seed_doubt(contrast: Contrast, cells: Cells) -> str:
    """Why a difference may still be due to the seed, as text; empty if no interval over seeds includes 0."""
    difference = contrast.difference
    alone = {training_words(cells): difference.training, f"{len(cells.kmeans_seeds)} k-means seeds": difference.kmeans}
    together = {"queries and seeds together": difference.combined if any(alone.values()) else None}
    doubts = next(filter(None, map(around_zero, (alone, together))), [])  # what contains the others adds no doubt
    if not doubts:
        return ""
    return (
        f"; but {' and '.join(doubts)} {'include' if len(doubts) > 1 else 'includes'} 0, so the difference may be due "
        "to the seed"
    )


def around_zero(found: Mapping[str, ConfidenceInterval | None]) -> list[str]:
    """The intervals that include 0, as text."""
    return [f"the interval over {name} ({interval(one)})" for name, one in found.items() if one and 0 in one]


def training_words(cells: Cells) -> str:
    """How many training seeds there are, and whether the k-means seeds moved with them: ``3 training seeds``."""
    found = counted(len(cells.training_seeds), "training seed")
    return f"{found} (each with a k-means seed of its own)" if cells.kmeans_follows else found


def seed_words(cells: Cells) -> str:
    """How many seeds there are of each kind: ``3 training seeds and 1 k-means seed``."""
    if cells.kmeans_follows:
        return training_words(cells)
    return f"{training_words(cells)} and {counted(len(cells.kmeans_seeds), 'k-means seed')}"


def counted(number: int, what: str) -> str:
    """A number with its noun: ``1 training seed``, ``3 training seeds``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def queries(number: int) -> str:
    """A number of queries, to follow the word *only*: ``1 query``, ``3 queries``."""
    return f"{number:,} {'query' if number == 1 else 'queries'}"


def mean_of(measure: str, cells: Cells) -> str:
    """What a difference is in: ``RR@10``, or of several collections ``the mean RR@10 of 3 collections``."""
    return measure if len(cells.collections) == 1 else f"the mean {measure} of {collection_words(cells)}"


def leading_words(cells: Cells) -> list[str]:
    """What the first measure is on each collection, if they differ in it, as sentences; else nothing."""
    listed = ", ".join(f"{measure} on {name}" for name, measure in cells.leading.items())
    return [f"{cells.measures[0]} is the measure of each collection: {listed}. {MIXED}"] if listed else []


def collection_words(cells: Cells) -> str:
    """The number of collections, and of how many if some are missing: ``3 collections``, ``2 of 3 collections``."""
    total = len(cells.collections) + len(cells.missing)
    return counted(total, "collection") if not cells.missing else f"{len(cells.collections)} of {total} collections"


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
