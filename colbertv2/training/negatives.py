"""Sample the negatives of an example that a step trains on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from colbertv2.schema import Scale, checked
from colbertv2.training.examples import Example

Strategy = Literal["uniform", "top", "stratified", "teacher"]


@checked
@dataclass(frozen=True)
class NegativeSampling:
    """Sample n − 1 negatives without replacement from an example's negatives, which are in retrieval order.

    Args:
        strategy: ``uniform``: all are equally likely (probably how ColBERTv2's 64-way tuples were made); ``top``:
            always the first ones; ``stratified``: one from each of n − 1 ranges of ranks of nearly equal length;
            ``teacher``: with probabilities proportional to exp(teacher score / temperature), by the Gumbel top-k trick
            (Kool et al., 2019, arXiv:1903.06059).
        temperature: of ``teacher``; the other strategies ignore it.

    Raises:
        InputError: the strategy is unknown, or the temperature is out of range.

    >>> example = Example("q", ["p", "a", "b", "c", "d"], [9.0, 4.0, 3.0, 2.0, 1.0])
    >>> NegativeSampling("top", 1.0).draw(example, 3, np.random.default_rng(0)).documents
    ['p', 'a', 'b']
    """

    strategy: Strategy
    temperature: Scale

    @property
    def needs_teacher(self) -> bool:
        """Whether the examples must have teacher scores."""
        return self.strategy == "teacher"

    def draw(self, example: Example, n: int, generator: np.random.Generator) -> Example:
        """Return the example with its positive and n − 1 sampled negatives; it must have at least that many."""
        places = [0, *(1 + self.places(np.array(example.scores[1:]), n - 1, generator))] if n > 1 else [0]
        return Example(example.query_id, [example.documents[i] for i in places], [example.scores[i] for i in places])

    def places(self, scores: np.ndarray, number: int, generator: np.random.Generator) -> np.ndarray:
        """Sample ``number`` different indices of negatives with these teacher ``scores``; ``[number]``."""
        match self.strategy:
            case "top":
                return np.arange(number)
            case "stratified":
                edges = np.linspace(0, len(scores), number + 1).astype(int)
                return generator.integers(edges[:-1], edges[1:])
            case "teacher":  # the largest logits plus Gumbel noise are a sample without replacement
                return np.argsort(-(scores / self.temperature + generator.gumbel(size=len(scores))))[:number]
            case _:
                return generator.choice(len(scores), size=number, replace=False)
