"""The interface of everything that makes fewer vectors of a document's token vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from colbertv2.compression.clustering.kmeans import normalised
from colbertv2.errors import InputError
from colbertv2.modeling.options import TokenWeights
from colbertv2.schema import Factor, PositiveInt

if TYPE_CHECKING:
    from colbertv2.modeling.tokenizer import Tokenizer

Protected = Literal["special", "first", "none"]
Weights = NDArray[np.float32] | None  # of tokens, [n]


class Reduction(ABC):
    """Makes fewer vectors of each document's vectors. Queries stay as they are.

    A new reduction is a subclass and a YAML file. It must define ``labels``, and ``learn`` if it needs to know the
    whole collection. As it returns labels and no vectors, a training can make the means too, with gradients.

    Attributes:
        protected: which vectors are kept as they are, in addition to the budget: ``special`` those of special tokens
            and of the document marker, ``first`` the first one, ``none`` none.
        normalise: whether the means are scaled to length 1; ``None`` for a rule that only leaves vectors out, so that
            all others stay as they are.
        token_weights: what ``labels`` needs a weight of each token by, ``attention`` or ``norm``; documents are then
            encoded once more (:func:`~colbertv2.modeling.token_weights.token_weights`). ``None`` needs none.
        needs_tokens: whether it depends on which tokens the vectors belong to. Vectors of a learned pooling
            (``head=constant``) belong to none: their ids are -1, and none of them is special.
    """

    protected: Protected
    normalise: bool | None = None
    token_weights: ClassVar[TokenWeights | None] = None
    needs_tokens: ClassVar[bool] = False

    def learn(self, tokenizer: Tokenizer, token_ids: Iterable[NDArray[np.int64]]) -> None:  # noqa: B027
        """Learn what ``labels`` needs from the whole collection. The base class learns nothing.

        Args:
            tokenizer: the tokenizer of the documents.
            token_ids: for each document, the ids ``[L]`` of the tokens that have vectors; read only if it is iterated.
        """

    @abstractmethod
    def labels(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], weights: Weights = None
    ) -> NDArray[np.integer]:
        """The group ``[n]`` of each vector that is not protected; -1 leaves it out. Each group becomes its mean.

        Args:
            vectors: ``[n, dim]``, n of at least 1, L2-normalised.
            ids: ``[n]``, their tokens.
            weights: ``[n]``, the weights of these tokens that ``token_weights`` asks for.
        """

    def groups(
        self,
        vectors: NDArray[np.float32],
        ids: NDArray[np.int64],
        protected: NDArray[np.bool_],
        weights: Weights = None,
    ) -> NDArray[np.int64]:
        """The group ``[L]`` of each vector of a document, from 0 in the order of the first members; -1 is left out.

        Each protected vector is a group by itself. Arguments are those of :meth:`reduce`.
        """
        labels, free = np.arange(len(vectors)), np.flatnonzero(~protected)
        if len(free):
            found = self.labels(vectors[free], ids[free], None if weights is None else weights[free])
            labels[free] = np.where(found < 0, -1, found + len(vectors))  # unlike the labels of protected vectors
        kept = labels >= 0
        _, first, places = np.unique(labels[kept], return_index=True, return_inverse=True)
        labels[kept] = np.argsort(np.argsort(first))[places]
        return labels

    def protects(self, ids: NDArray[np.int64], special: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which vectors of a document are kept as they are, ``[L]``, whatever the budget.

        Args:
            ids: ``[L]``, their tokens.
            special: the ids of special tokens, from :func:`special_ids`.
        """
        if self.protected == "special":
            return np.isin(ids, special)
        return np.arange(len(ids)) < (1 if self.protected == "first" else 0)

    def reduce(
        self,
        vectors: NDArray[np.float32],
        ids: NDArray[np.int64],
        protected: NDArray[np.bool_],
        weights: Weights = None,
    ) -> NDArray[np.float32]:
        """The new vectors ``[m, dim]`` of a document, in the order of the text; a document without vectors stays so.

        Args:
            vectors: ``[L, dim]``, L2-normalised.
            ids: ``[L]``, their tokens.
            protected: ``[L]``, true for the vectors that are kept as they are.
            weights: ``[L]``, the weights of the tokens that ``token_weights`` asks for.
        """
        groups = self.groups(vectors, ids, protected, weights)
        kept = groups >= 0
        sizes = np.bincount(groups[kept])
        means = np.zeros((len(sizes), vectors.shape[1]), np.float32)
        np.add.at(means, groups[kept], vectors[kept])
        means /= sizes[:, None]
        if self.normalise:
            means = normalised(means)
        unchanged = kept if self.normalise is None else protected
        means[groups[unchanged]] = vectors[unchanged]
        return means

    def size(self) -> dict[str, Any]:
        """What plans need: the budget, and what documents are encoded for once more; ``None`` is none.

        The budget is the factor by which vectors become fewer, and their largest number.
        """
        return {"factor": None, "num_vectors": None, "token_weights": self.token_weights}

    def check(self, maxlen: int) -> Iterable[str]:
        """Why documents of at most ``maxlen`` tokens can't be reduced; empty if they can."""
        return ()

    def check_pooled(self, number: int) -> Iterator[str]:
        """Yield why documents can't be reduced whose ``number`` vectors a learned pooling has made."""
        if self.needs_tokens:
            yield (
                f"{type(self).__name__} chooses vectors by their tokens, but the vectors of a learned pooling "
                "(head=constant) belong to none; use reduction=none, hierarchical, kmeans, sequential, first or random."
            )
        yield from self.check(number)


@dataclass(frozen=True)
class NoReduction(Reduction):
    """All vectors are kept: the index reads the encoder's embeddings themselves."""

    protected: ClassVar[Protected] = "none"

    def labels(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], weights: Weights = None
    ) -> NDArray[np.integer]:
        """All vectors."""
        return np.arange(len(vectors))


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
                "one of them, the other null, such as reduction_factor=null reduction_num_vectors=32."
            )

    def budget(self, number: int) -> int:
        """How many of ``number`` vectors remain."""
        if self.num_vectors is not None:
            return min(number, self.num_vectors)
        assert self.factor is not None
        return max(1, int(number // self.factor))

    def size(self) -> dict[str, Any]:
        """As in the base class, with this budget."""
        return super().size() | {"factor": self.factor, "num_vectors": self.num_vectors}

    def check(self, maxlen: int) -> Iterable[str]:
        """Say if no document could lose a vector, or if each would keep one alone."""
        if self.num_vectors is not None and self.num_vectors >= maxlen:
            yield (
                f"reduction.num_vectors is {self.num_vectors}, but documents have at most {maxlen} vectors, so none "
                f"would lose a vector; expected less than {maxlen}, or reduction=none."
            )
        if self.factor is not None and self.factor > maxlen:
            yield (
                f"reduction.factor is {self.factor:g}, but documents have at most {maxlen} vectors, so only a single "
                f"vector would be left of each; expected at most {maxlen}."
            )


def special_ids(tokenizer: Tokenizer) -> NDArray[np.int64]:
    """The ids of the special tokens, such as ``[CLS]`` and ``[SEP]``, and of the marker of documents."""
    marker = [] if tokenizer.document_marker is None else [tokenizer.document_marker]
    return np.unique([*tokenizer.tokenizer.all_special_ids, *marker]).astype(np.int64)


def seeded(seed: int, ids: NDArray[np.int64]) -> np.random.Generator:
    """A generator that depends on ``seed`` and on the tokens, so that identical documents get identical vectors."""
    return np.random.default_rng([seed, *ids[ids >= 0].tolist()])
