"""Training batches as a pure function of (seed, step), so that a resumed run continues exactly where it stopped."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from colbertv2.data.collection import Collection
from colbertv2.data.mixture import MixedCollection, MixedQueries, part_of
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError
from colbertv2.modeling.batch import TextSettings, Tuples, excluded_in_batch
from colbertv2.parallel import rank_and_world
from colbertv2.training.examples import Example
from colbertv2.training.mixture import EpochOrder, MixtureOrder, counts_of
from colbertv2.training.negatives import NegativeSampling

Item = TypeVar("Item")


@dataclass
class TrainingBatch:
    """The part of a batch that one process trains on: B queries with n candidates each, the positive first.

    Args:
        inputs: the texts, tokenised by the ranker.
        teacher: the teacher's scores ``[B, n]``, float32, or ``None`` if any candidate has none.
        excluded: ``[B, N]``, true where a passage must not be an in-batch negative of a query (``excluded_in_batch``);
            one column for each of the N passages that all pairs are scored with.
        step: the number of the batch, from 0.
        query_ids: the ids of the B queries.
    """

    inputs: Any
    teacher: Tensor | None
    excluded: Tensor
    step: int
    query_ids: tuple[str, ...]


@dataclass
class DevBatch:
    """Queries of the dev set with the candidates that the ranker should order.

    Args:
        inputs: the texts, tokenised by the ranker.
        relevance: ``[B, n]``, 1 for the positive, 0 for all others.
        part: the collection of a mixture that they are of; empty for a single collection.
        weight: their weight in the mean over the dev set, on average 1: all collections count the same.
    """

    inputs: Any
    relevance: Tensor
    part: str = ""
    weight: float = 1.0


class TextLookup:
    """Look up the texts of examples: a call turns examples into :class:`Tuples`.

    Texts of several collections (:mod:`colbertv2.data.mixture`) keep their collection's prompt and length.
    """

    def __init__(self, queries: Queries, documents: Collection):
        self.queries = queries
        self.documents = documents

    def __call__(self, examples: Sequence[Example]) -> Tuples:
        asked = [example.query_id for example in examples]
        ids = [document for example in examples for document in example.documents]
        return Tuples(
            self.queries.texts(asked),
            self.documents.texts(ids),
            settings_of(self.queries, asked),
            settings_of(self.documents, ids),
        )


def settings_of(texts: Queries | Collection, ids: Sequence[str]) -> list[TextSettings] | None:
    """The prompt and length of each text of a mixture; ``None`` for a single collection, whose own the model has."""
    if not isinstance(texts, MixedQueries | MixedCollection):
        return None
    of_parts = {name: TextSettings(one.prompt, one.maxlen) for name, one in texts.parts.items()}
    return [of_parts[part_of(texts.parts, id)] for id in ids]


class TrainingBatches(IterableDataset[TrainingBatch]):
    """Iterate over the batches of a training run, with sampled negatives, tokenised.

    If there are several processes, each yields its part of every batch. Every epoch is one seeded permutation of the
    examples; a batch may span two epochs. Of several collections, each has its own epochs
    (:class:`~colbertv2.training.mixture.MixtureOrder`). The iterable has no length, as Lightning would count a resumed
    loader's length from its start.

    Args:
        examples: examples with at least n−1 negatives each.
        texts: looks up their texts.
        collate: tokenises them.
        n_way: candidates per query, including the positive.
        negatives: how the negatives are sampled.
        batch_size: queries per batch, over all processes.
        groups: number of equal parts of a batch; in-batch negatives come from the query's own part.
        steps: the number of batches.
        seed: the seed of the permutations and of the sampling.
        first: the batch to start from.

    Raises:
        InputError: there are fewer examples than queries in a batch.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        texts: TextLookup,
        collate: Callable[[Tuples], Any],
        *,
        n_way: int,
        negatives: NegativeSampling,
        batch_size: int,
        groups: int,
        steps: int,
        seed: int,
        first: int = 0,
    ):
        if len(examples) < batch_size:
            raise InputError(
                f"The batch is {batch_size} queries, but there are only {len(examples)} training examples with at "
                f"least {n_way - 1} negatives; lower training.batch_size or training.n_way, or raise the mining depth."
            )
        self.examples, self.texts, self.collate = examples, texts, collate
        self.n_way, self.negatives, self.batch_size, self.groups = n_way, negatives, batch_size, groups
        self.steps, self.seed, self.first = steps, seed, first
        queries = getattr(texts, "queries", None)
        if isinstance(queries, MixedQueries) and queries.sampling is not None:
            counts = counts_of(examples, [*queries.parts])
            self.order = MixtureOrder(counts, queries.sampling, batch_size, groups, steps, seed)
        else:
            self.order = EpochOrder(len(examples), [seed])

    def chosen(self, step: int) -> list[Example]:
        """Return the examples of a step with their sampled negatives, for all processes."""
        chosen = []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            example = self.examples[self.order.place(position)]
            chosen.append(self.negatives.draw(example, self.n_way, np.random.default_rng([self.seed, 1, position])))
        return chosen

    def __iter__(self) -> Iterator[TrainingBatch]:
        for step in range(self.first, self.steps):
            yield self.batch(step, *rank_and_world())

    def batch(self, step: int, rank: int, world: int) -> TrainingBatch:
        """Return the part of a step's batch for process ``rank`` of ``world``.

        If a group that shares in-batch negatives spans several processes, the columns of ``excluded`` are the passages
        of all processes, else only those of this one.
        """
        chosen = self.chosen(step)
        rows = slice(rank * len(chosen) // world, (rank + 1) * len(chosen) // world)
        documents = [document for example in chosen for document in example.documents]
        excluded = excluded_in_batch([example.query_id for example in chosen], documents, self.groups)[rows]
        own = slice(rows.start * self.n_way, rows.stop * self.n_way)
        return TrainingBatch(
            inputs=self.collate(self.texts(chosen[rows])),
            teacher=teacher_scores(chosen[rows]),
            excluded=excluded if spans_processes(self.groups, world) else excluded[:, own],
            step=step,
            query_ids=tuple(example.query_id for example in chosen[rows]),
        )


def teacher_scores(examples: Sequence[Example]) -> Tensor | None:
    """Return the teacher's scores ``[B, n]``, float32, of B examples; ``None`` if any candidate has no score."""
    if not all(example.is_scored for example in examples):
        return None
    return torch.tensor([example.scores for example in examples], dtype=torch.float32)


def spans_processes(groups: int, world: int) -> bool:
    """Whether queries of different processes share in-batch negatives, for ``groups`` parts and ``world`` processes."""
    return groups % world != 0


class DevBatches(Dataset[DevBatch]):
    """The dev set: item i is the batch of dev query i with its candidates."""

    def __init__(self, examples: Sequence[Example], texts: TextLookup, collate: Callable[[Tuples], Any]):
        self.examples, self.texts, self.collate = examples, texts, collate
        self.parts = collections_of(examples, texts)
        self.counts = Counter(self.parts)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, item: int) -> DevBatch:
        example = self.examples[item]
        relevance = torch.zeros(1, len(example.documents))
        relevance[:, 0] = 1
        part = self.parts[item]
        weight = len(self.parts) / len(self.counts) / self.counts[part]
        return DevBatch(self.collate(self.texts([example])), relevance, part, weight)


def collections_of(examples: Sequence[Example], texts: TextLookup) -> list[str]:
    """The collection of a mixture that each example is of; empty names for a single collection."""
    queries = getattr(texts, "queries", None)
    if not isinstance(queries, MixedQueries):
        return [""] * len(examples)
    return [part_of(queries.parts, example.query_id) for example in examples]


def sampled_dev(examples: Sequence[Example], texts: TextLookup, count: int, seed: int) -> list[Example]:
    """Sample ``count`` examples of the dev set, of each collection of a mixture equally many; see :func:`sampled`."""
    names = collections_of(examples, texts)
    different = dict.fromkeys(names)
    places = ([place for place, name in enumerate(names) if name == one] for one in different)
    each = max(1, count // max(1, len(different)))
    return [examples[place] for own in places for place in sampled(own, each, seed)]


def sampled(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    """Sample ``count`` items without replacement and keep their order; return all if ``count`` is None or too large."""
    if count is None or count >= len(items):
        return list(items)
    drawn = np.random.default_rng(seed).choice(len(items), size=count, replace=False)
    return [items[position] for position in sorted(drawn)]
