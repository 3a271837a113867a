"""Token pruning: some vectors of a document are left out (Lassance et al. 2021, arXiv:2112.06540)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from colbertv2.errors import InputError
from colbertv2.modeling.options import TokenWeights
from colbertv2.reduction.reduction import BudgetedReduction, Protected, Reduction, Weights, seeded
from colbertv2.schema import Seed, Text, checked

if TYPE_CHECKING:
    from colbertv2.modeling.tokenizer import Tokenizer


@dataclass
class Pruning(BudgetedReduction):
    """The vectors of the most important tokens are kept, as many as the budget allows; of equal ones the earlier."""

    @abstractmethod
    def importance(self, ids: NDArray[np.int64], weights: Weights) -> NDArray[np.floating] | NDArray[np.integer]:
        """The importance ``[n]`` of each of a document's tokens ``ids [n]``, whose weights are ``weights [n]``."""

    def labels(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], weights: Weights = None
    ) -> NDArray[np.integer]:
        """Each vector that is kept is a group by itself."""
        labels = np.full(len(ids), -1)
        kept = np.argsort(-self.importance(ids, weights), kind="stable")[: self.budget(len(ids))]
        labels[kept] = kept
        return labels


@checked
@dataclass
class FirstPruning(Pruning):
    """The first tokens are kept: pruning by position.

    >>> pruning = FirstPruning(factor=None, num_vectors=1, protected="none")
    >>> pruning.reduce(np.eye(2, dtype=np.float32), np.array([7, 8]), np.zeros(2, bool)).tolist()
    [[1.0, 0.0]]
    """

    def importance(self, ids: NDArray[np.int64], weights: Weights) -> NDArray[np.integer]:
        """Falls with the position."""
        return -np.arange(len(ids))


@checked
@dataclass
class RandomPruning(Pruning):
    """Tokens are drawn at random: the control for all other rules.

    Args:
        seed: of the drawing.
    """

    seed: Seed

    def importance(self, ids: NDArray[np.int64], weights: Weights) -> NDArray[np.floating]:
        """Random numbers."""
        return seeded(self.seed, ids).random(len(ids))


@checked
@dataclass
class IdfPruning(Pruning):
    """The tokens that the fewest documents contain are kept: those with the greatest inverse document frequency.

    >>> pruning = IdfPruning(factor=2, num_vectors=None, protected="none")
    >>> pruning.learn(None, [np.array([5, 6]), np.array([5, 7])])
    >>> pruning.reduce(np.eye(2, dtype=np.float32), np.array([5, 6]), np.zeros(2, bool)).tolist()
    [[0.0, 1.0]]
    """

    needs_tokens: ClassVar[bool] = True
    document_frequencies: NDArray[np.int64] = field(init=False, default_factory=lambda: np.zeros(0, np.int64))

    def learn(self, tokenizer: Tokenizer | None, token_ids: Iterable[NDArray[np.int64]]) -> None:
        """Count the documents that contain each token."""
        counted = np.zeros(1, np.int64)
        for ids in token_ids:
            distinct = np.unique(ids)
            if len(distinct) and distinct[-1] >= len(counted):
                counted = np.pad(counted, (0, int(distinct[-1]) + 1 - len(counted)))
            counted[distinct] += 1
        self.document_frequencies = counted

    def importance(self, ids: NDArray[np.int64], weights: Weights) -> NDArray[np.integer]:
        """Falls with the number of documents that contain a token, as the inverse document frequency does."""
        known = ids < len(self.document_frequencies)  # a validation may search another collection
        return -np.where(known, self.document_frequencies[np.where(known, ids, 0)], 0)


@dataclass
class WeightPruning(Pruning):
    """The tokens with the greatest weights are kept; a subclass says which weights, in ``token_weights``."""

    needs_tokens: ClassVar[bool] = True

    def importance(self, ids: NDArray[np.int64], weights: Weights) -> NDArray[np.floating]:
        """The weights themselves."""
        if weights is None:
            raise ValueError(f"{type(self).__name__} needs the weights of the tokens.")
        return weights


@checked
@dataclass
class AttentionPruning(WeightPruning):
    """The tokens that receive the most attention are kept (Lassance et al. 2021, §3.1).

    The attention of all heads of the encoder's last layer counts. The paper trains its models with the pruning, and
    reports that this is better than to prune only afterwards, as is done here.

    >>> pruning = AttentionPruning(factor=2, num_vectors=None, protected="none")
    >>> weights = np.array([0.5, 1.5], np.float32)
    >>> pruning.reduce(np.eye(2, dtype=np.float32), np.array([7, 8]), np.zeros(2, bool), weights).tolist()
    [[0.0, 1.0]]
    """

    token_weights: ClassVar[TokenWeights | None] = "attention"


@checked
@dataclass
class NormPruning(WeightPruning):
    """The tokens whose projected vectors were longest before they were scaled to length 1 are kept.

    Zong and Piwowarski (2025, arXiv:2504.12778) prune vectors whose norm is below a threshold. Their models are trained
    so that norms are at most 1 and tell what a vector adds to a score. A model that was trained with normalised vectors
    was never told to make unimportant ones short.
    """

    token_weights: ClassVar[TokenWeights | None] = "norm"


@checked
@dataclass
class StopWordPruning(Reduction):
    """Leave out the tokens that are stop words. A document that would lose all its vectors keeps them all.

    Args:
        words: the stop words, or ``english``, the list of the BM25 library. A word that is several tokens is kept.

    Raises:
        InputError: the list is empty.
    """

    words: list[Text] | Text
    protected: ClassVar[Protected] = "none"  # special tokens are no stop words
    needs_tokens: ClassVar[bool] = True
    ids: NDArray[np.int64] = field(init=False, default_factory=lambda: np.zeros(0, np.int64))

    def __post_init__(self) -> None:
        if not self.words or (isinstance(self.words, str) and self.words != "english"):
            raise InputError(f"reduction.words is {self.words!r}; expected english, or a list of words.")

    def learn(self, tokenizer: Tokenizer, token_ids: Iterable[NDArray[np.int64]]) -> None:
        """Find the tokens of the stop words, at the start of a text and after a space."""
        from bm25s.stopwords import STOPWORDS_EN

        words = STOPWORDS_EN if isinstance(self.words, str) else self.words
        spelled = [text for word in words for text in (word, f" {word}")]
        rows = tokenizer.tokenizer(spelled, add_special_tokens=False)["input_ids"]
        self.ids = np.unique([row[0] for row in rows if len(row) == 1]).astype(np.int64)

    def labels(
        self, vectors: NDArray[np.float32], ids: NDArray[np.int64], weights: Weights = None
    ) -> NDArray[np.integer]:
        """All other tokens are kept, each a group by itself."""
        every, stop_words = np.arange(len(ids)), np.isin(ids, self.ids)
        return every if stop_words.all() else np.where(stop_words, -1, every)
