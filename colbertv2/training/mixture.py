"""The order of training examples: epochs of one collection, or draws from several, as a function of the position."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from colbertv2.data.mixture import MixtureSampling, part_of
from colbertv2.errors import InputError
from colbertv2.training.examples import Example

DRAWS, ORDERS = 2, 3  # which random numbers of a seed these are; data.py has the others


class EpochOrder:
    """Every epoch is one permutation of the examples.

    Args:
        count: number of examples.
        seeds: the seed, or several whole numbers that make one.

    >>> order = EpochOrder(3, [0])
    >>> sorted(order.place(position) for position in (3, 4, 5))
    [0, 1, 2]
    """

    def __init__(self, count: int, seeds: Sequence[int]) -> None:
        self.count, self.seeds = count, [*seeds]
        self.last: tuple[int, np.ndarray] | None = None

    def place(self, position: int) -> int:
        """The example at a position of the training, counted from 0; the permutation of the last epoch is kept."""
        epoch, within = divmod(position, self.count)
        if self.last is None or self.last[0] != epoch:
            self.last = epoch, np.random.default_rng([*self.seeds, epoch]).permutation(self.count)
        return int(self.last[1][within])


class MixtureOrder:
    """Draw the collection of every position by its share; each collection has its own epochs.

    Args:
        counts: number of examples of each collection, whose examples lie one collection after the other.
        sampling: the shares, and whether the queries that share in-batch negatives are of one collection.
        batch_size: queries per batch, over all processes.
        groups: parts of a batch that share in-batch negatives.
        steps: number of batches; more steps change nothing in the first ones.
        seed: the seed of everything.

    Raises:
        InputError: a collection has fewer examples than its share of what shares in-batch negatives, so that a query
            would be there several times.

    >>> order = MixtureOrder([30, 10], MixtureSampling("equal", 1.0, "single"), 4, 2, steps=100, seed=0)
    >>> [len({order.parts[4 * step + 2 * group + i] for i in (0, 1)}) for step in (0, 1) for group in (0, 1)]
    [1, 1, 1, 1]
    """

    def __init__(
        self, counts: Sequence[int], sampling: MixtureSampling, batch_size: int, groups: int, steps: int, seed: int
    ) -> None:
        shares = sampling.shares(counts)
        together = batch_size // groups
        single = sampling.batches == "single"
        for count, share in zip(counts, [1.0] * len(counts) if single else shares, strict=True):
            if count < share * together:
                raise InputError(
                    f"A collection of the mixture has {count} examples, but the {together} queries that share in-batch "
                    f"negatives would have {share * together:.1f} of it on average, so some would repeat. Lower "
                    "training.batch_size, or use sampling=proportional and batches=mixed."
                )
        each = together if single else 1
        drawn = np.random.default_rng([seed, DRAWS]).choice(len(counts), steps * batch_size // each, p=shares)
        self.parts = np.repeat(drawn.astype(np.int32), each)
        self.numbers = np.empty(len(self.parts), dtype=np.int64)  # how many of the same collection came before
        for part in range(len(counts)):
            mine = self.parts == part
            self.numbers[mine] = np.arange(mine.sum())
        self.starts = np.cumsum([0, *counts])
        self.orders = [EpochOrder(count, [seed, ORDERS, part]) for part, count in enumerate(counts)]

    def place(self, position: int) -> int:
        """The example at a position of the training, counted from 0."""
        part = self.parts[position]
        return int(self.starts[part]) + self.orders[part].place(int(self.numbers[position]))


def counts_of(examples: Sequence[Example], names: Sequence[str]) -> list[int]:
    """The number of examples of each collection, which lie one collection after the other, in the order of ``names``.

    Raises:
        InputError: a collection has none.

    >>> counts_of([Example("a/1", [], []), Example("b/1", [], []), Example("b/2", [], [])], ["a", "b"])
    [1, 2]
    """
    numbers = {name: number for number, name in enumerate(names)}

    def number_at(place: int) -> int:
        return numbers[part_of(numbers, examples[place].query_id)]

    ends = [bisect_right(range(len(examples)), number, key=number_at) for number in range(len(names))]
    counts = np.diff([0, *ends]).tolist()
    if 0 in counts:
        raise InputError(
            f"The collection {names[counts.index(0)]!r} of the mixture has no examples with enough negatives; lower "
            "training.n_way, raise the mining depth, or remove the collection."
        )
    return counts
