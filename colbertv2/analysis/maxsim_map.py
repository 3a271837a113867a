"""The map of a MaxSim: every query token against every document token (ColBERTv2 §3.1)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from colbertv2.errors import InputError


@dataclass(frozen=True, eq=False)
class MaxSimMap:
    """The similarities of all tokens of a query to all of a document, of which MaxSim adds up each row's greatest.

    Args:
        query_tokens: ``[Lq]``. document_tokens: ``[Ld]``. similarities: ``[Lq, Ld]``.

    Raises:
        InputError: the shapes do not agree, or there is no token on one side.

    >>> similarities = np.array([[0.25, 0.5], [1.0, 0.0]])
    >>> found = MaxSimMap(["join", "strings"], ["string", "joined"], similarities)
    >>> found.best.tolist(), found.contributions.tolist(), found.score
    ([1, 0], [0.5, 1.0], 1.5)
    """

    query_tokens: list[str]
    document_tokens: list[str]
    similarities: NDArray[np.float32]

    def __post_init__(self) -> None:
        expected = (len(self.query_tokens), len(self.document_tokens))
        if self.similarities.shape != expected or 0 in expected:
            raise InputError(
                f"{expected[0]} query tokens and {expected[1]} document tokens have similarities "
                f"{list(self.similarities.shape)}; expected {list(expected)}, with at least one token on each side."
            )

    @cached_property
    def best(self) -> NDArray[np.int64]:
        """``[Lq]``: the place of the document token that each query token takes, the first of equal ones."""
        return self.similarities.argmax(axis=1)

    @cached_property
    def contributions(self) -> NDArray[np.float32]:
        """``[Lq]``: what each query token adds to the score."""
        return self.similarities.max(axis=1)

    @property
    def score(self) -> float:
        """The sum of the contributions."""
        return float(self.contributions.sum())

    @property
    def taken(self) -> list[str]:
        """``[Lq]``: the document token that each query token takes."""
        return [self.document_tokens[place] for place in self.best]

    def table(self) -> pd.DataFrame:
        """A row for each query token, by falling contribution; the index is its place in the query."""
        columns = {"query_token": self.query_tokens, "document_token": self.taken, "similarity": self.contributions}
        return pd.DataFrame(columns).rename_axis("place").sort_values("similarity", ascending=False, kind="stable")
