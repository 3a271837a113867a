"""The interface of everything that makes fewer vectors of a document's token vectors."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.schema import LARGEST, PositiveInt

if TYPE_CHECKING:
    from colbertv2.modeling.tokenizer import Tokenizer

# Annotations are not deferred in this module: subclasses inherit these fields, and check them by their annotations.
Factor = Annotated[float, Interval(ge=1, le=LARGEST)]
Protected = Literal["special", "first", "none"]


class Reduction(ABC):
    """Makes fewer vectors of each document's vectors. Queries stay as they are.

    A new reduction is a subclass and a YAML file. It must define ``select``, and ``learn`` if it needs to know the
    whole collection.

    Attributes:
        protected: which vectors are kept as they are, in addition to the budget: ``special`` those of special tokens
            and of the document marker, ``first`` the first one, ``none`` none.
    """

    protected: Protected

    def learn(self, tokenizer: "Tokenizer", token_ids: Iterable[NDArray[np.int64]]) -> None:  # noqa: B027
        """Learn what ``select`` needs from the whole collection. The base class learns nothing.

        Args:
            tokenizer: the tokenizer of the documents.
            token_ids: for each document, the ids ``[L]`` of the tokens that have vectors; read only if it is iterated.
        """

    @abstractmethod
    def select(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The new vectors of a document, made from those that are not protected.

        Args:
            vectors: ``[n, dim]``, n of at least 1, L2-normalised.
            ids: ``[n]``, their tokens.

        Returns:
            The new vectors ``[m, dim]``, and for each the position ``[m]`` of the first vector it was made from.
        """

    def reduce(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], protected: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """The new vectors ``[m, dim]`` of a document, in the order of the text; a document without vectors stays so.

        Args:
            vectors: ``[L, dim]``, L2-normalised.
            ids: ``[L]``, their tokens.
            protected: ``[L]``, true for the vectors that are kept as they are.
        """
        free = np.flatnonzero(~protected)
        if len(free) == 0:
            return vectors
        made, first = self.select(vectors[free], ids[free])
        everything = np.concatenate([vectors[protected], made])
        return everything[np.argsort(np.concatenate([np.flatnonzero(protected), free[first]]), kind="stable")]

    def size(self) -> dict[str, float | None]:
        """What plans need: the factor by which vectors become fewer, and their largest number; ``None`` is no limit."""
        return {"factor": None, "num_vectors": None}

    def check(self, maxlen: int) -> Iterable[str]:
        """Why documents of at most ``maxlen`` tokens can't be reduced; empty if they can."""
        return ()


class NoReduction(Reduction):
    """All vectors are kept: the index reads the encoder's embeddings themselves."""

    def select(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """All vectors."""
        return vectors, np.arange(len(vectors))


@dataclass
class BudgetedReduction(Reduction):
    """A reduction to a budget of vectors per document: a share of them (``factor``), or a number (``num_vectors``).

    Args:
        factor: of n vectors ``max(1, ⌊n / factor⌋)`` remain, as in PyLate and sentence-transformers.
        num_vectors: of n vectors ``min(n, num_vectors)`` remain, so that no document has more.
        protected: see :class:`Reduction`. Protected vectors do not count.

    Raises:
        InputError: not exactly one of ``factor`` and ``num_vectors`` is given.
    """

    factor: Factor | None
    num_vectors: PositiveInt | None
    protected: Protected

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.num_vectors is None):
            raise InputError(
                f"reduction.factor is {self.factor} and reduction.num_vectors is {self.num_vectors}; expected exactly "
                "one of them, the other null."
            )

    def budget(self, number: int) -> int:
        """How many of ``number`` vectors remain."""
        if self.num_vectors is not None:
            return min(number, self.num_vectors)
        assert self.factor is not None
        return max(1, int(number // self.factor))

    def size(self) -> dict[str, float | None]:
        """The budget."""
        return {"factor": self.factor, "num_vectors": self.num_vectors}

    def check(self, maxlen: int) -> Iterable[str]:
        """Say if no document could lose a vector, or if each would keep one alone."""
        if self.num_vectors is not None and self.num_vectors >= maxlen:
            yield (
                f"reduction.num_vectors is {self.num_vectors}, but documents have at most {maxlen} tokens, so none "
                f"would lose a vector; expected less than {maxlen}, or reduction=none."
            )
        if self.factor is not None and self.factor > maxlen:
            yield (
                f"reduction.factor is {self.factor:g}, but documents have at most {maxlen} tokens, so only a single "
                f"vector would be left of each; expected at most {maxlen}."
            )


def seeded(seed: int, ids: NDArray[np.int64]) -> np.random.Generator:
    """A generator that depends on ``seed`` and on the tokens, so that identical documents get identical vectors."""
    return np.random.default_rng([seed, *ids.tolist()])
