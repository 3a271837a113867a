"""The tokens behind vectors: of every vector that is scored, which token it is."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from colbertv2.modeling.tokenizer import Encoding, Tokenizer

BATCH_DOCUMENTS = 256  # tokenised at once


def scored_ids(encoding: Encoding) -> list[NDArray[np.int64]]:
    """The ids of each text's scored tokens ``[L]``: one for every vector that ``ColBERT`` gives for it, in order."""
    return [ids[kept].numpy() for ids, kept in zip(encoding.input_ids, encoding.scored, strict=True)]


def document_token_ids(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[NDArray[np.int64]]:
    """As ``scored_ids``, of documents streamed."""
    stream = iter(texts)
    while batch := list(islice(stream, BATCH_DOCUMENTS)):
        yield from scored_ids(tokenizer.documents(batch))


def names(tokenizer: Tokenizer, ids: NDArray[np.integer]) -> list[str]:
    """Tokens as the vocabulary spells them."""
    return list(tokenizer.tokenizer.convert_ids_to_tokens(ids.tolist()))
