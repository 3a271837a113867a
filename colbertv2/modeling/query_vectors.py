"""The vectors of queries, encoded in blocks when they are needed, and kept for the next search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from colbertv2.modeling.attention import with_attention
from colbertv2.modeling.colbert import ColBERT
from colbertv2.runtime import Runtime

BLOCK_QUERIES = 1024  # encoded at once: enough for full batches of similar length
KEPT_CHARACTERS = 2**20  # of queries whose vectors are kept: a few hundred MB

Vectors = list[NDArray[np.float32]]
KEPT: dict[tuple[Any, ...], Vectors] = {}  # the blocks that were encoded last, the newest at the end


class QueryVectors:
    """The vectors of queries; a slice gives one array ``[Lq, dim]`` per query.

    They are encoded in blocks, so a query's vectors do not depend on which slices are asked for. The model is loaded
    when it is needed first. The last blocks are kept for the whole process if they are small enough, since the points
    of a sweep search different indexes for the same queries.

    Args:
        checkpoint: directory of the model, in any layout.
        texts: the queries.
        runtime: the batch size in tokens.
        device: the device to encode on.
        prompt: text before every query; ``None`` uses the checkpoint's.
        maxlen: maximum length of a query in tokens; ``None`` uses the checkpoint's.
    """

    def __init__(
        self,
        checkpoint: Path,
        texts: Sequence[str],
        runtime: Runtime,
        device: Any,
        prompt: str | None = None,
        maxlen: int | None = None,
    ) -> None:
        self.checkpoint, self.texts, self.runtime, self.device = checkpoint, texts, runtime, device
        self.prompt, self.maxlen = prompt, maxlen

    def __getitem__(self, wanted: slice) -> Vectors:
        start, stop, _ = wanted.indices(len(self.texts))
        first = start - start % BLOCK_QUERIES
        found = [one for place in range(first, stop, BLOCK_QUERIES) for one in self.block(place)]
        return found[start - first : stop - first]

    def block(self, start: int) -> Vectors:
        """The vectors of a block, encoded if they are not kept."""
        texts = tuple(self.texts[start : start + BLOCK_QUERIES])
        key = (self.checkpoint, texts, self.prompt, self.maxlen)
        key += (self.runtime.batch_tokens, str(self.device), self.runtime.attention)
        vectors = KEPT.pop(key, None)
        if vectors is None:
            vectors = self.model.encode_queries(
                list(texts), self.runtime.batch_tokens, prompt=self.prompt, maxlen=self.maxlen
            )
        KEPT[key] = vectors
        while len(KEPT) > 1 and sum(len(text) for kept in KEPT for text in kept[1]) > KEPT_CHARACTERS:
            KEPT.pop(next(iter(KEPT)))
        return vectors

    @cached_property
    def model(self) -> ColBERT:
        """The model, on the device."""
        return with_attention(ColBERT.load(self.checkpoint), self.runtime.attention).to(self.device)


def encoded_queries(
    checkpoint: Path,
    texts: Sequence[str],
    runtime: Runtime,
    prompt: str | None = None,
    maxlen: int | None = None,
) -> Vectors:
    """The vectors of all ``texts``, encoded on the first device; arguments as for :class:`QueryVectors`."""
    return QueryVectors(checkpoint, texts, runtime, runtime.device_of(0), prompt, maxlen)[:]
