"""Which of an example's negatives a step trains on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from colbertv2.schema import Scale, checked
from colbertv2.training.examples import Example

Strategy = Literal["uniform", "top", "stratified", "teacher"]


@checked
@dataclass(frozen=True)
class NegativeSampling:
    """Draws n − 1 negatives of an example's list, which is in retrieval order; always without replacement.

    Args:
        strategy: ``uniform``: any (what ColBERTv2's 64-way tuples are thought to be); ``top``: the first ones, always
            the same; ``stratified``: one from each of n − 1 stretches of ranks as nearly equal as can be; ``teacher``:
            the better the teacher scores them, the likelier, weights exp(score / temperature).
        temperature: of ``teacher``, which alone reads it.

    Raises:
        InputError: an unknown strategy, or a temperature out of range.

    >>> example = Example("q", ["p", "a", "b", "c", "d"], [9.0, 4.0, 3.0, 2.0, 1.0])
    >>> NegativeSampling("top", 1.0).draw(example, 3, np.random.default_rng(0)).documents
    ['p', 'a', 'b']
    """

    strategy: Strategy
    temperature: Scale

    @property
    def needs_teacher(self) -> bool:
        """Whether the examples must have scores."""
        return self.strategy == "teacher"

    def draw(self, example: Example, n: int, generator: np.random.Generator) -> Example:
        """The positive and n − 1 of its negatives."""
        places = [0, *(1 + self.places(np.array(example.scores[1:]), n - 1, generator))] if n > 1 else [0]
        return Example(example.query_id, [example.documents[i] for i in places], [example.scores[i] for i in places])

    def places(self, scores: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
        """``number`` different places in a list of negatives with these ``scores``, ``[number]``."""
        match self.strategy:
            case "top":
                return np.arange(number)
            case "stratified":
                edges = np.linspace(0, len(scores), number + 1).astype(int)
                return generator.integers(edges[:-1], edges[1:])
            case "teacher":  # the largest of logit + Gumbel noise: a draw without replacement
                return np.argsort(-(scores / self.temperature + generator.gumbel(size=len(scores))))[:number]
            case _:
                return generator.choice(len(scores), size=number, replace=False)
