"""Token ids of queries and documents (ColBERTv2 §3.1; the official ``QueryTokenizer`` and ``DocTokenizer``).

- Query: ``[CLS] [Q] tokens… [SEP]``, padded with ``[MASK]`` (query augmentation) to ``query_maxlen``, or to a length
  that depends on the query's own (:meth:`~colbertv2.checkpoints.tokenization.Tokenization.padded_length`). The
  attention mask is 0 for these ``[MASK]`` tokens unless ``attend_to_mask_tokens``, but their vectors enter MaxSim.
- Document: ``[CLS] [D] tokens… [SEP]``; the vectors of punctuation do not enter MaxSim.
- A prompt is text before every query or document, after the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from colbertv2.checkpoints.punctuation import punctuation_tokens
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from colbertv2.modeling.batch import TextSettings


class Encoding(NamedTuple):
    """A padded batch of texts: ``input_ids``, ``attention_mask`` and ``scored`` (enters MaxSim), each ``[B, L]``."""

    input_ids: Tensor
    attention_mask: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> Encoding:
        """Return a copy on ``device``."""
        return Encoding(*(tensor.to(device) for tensor in self))


class Tokenizer:
    """Apply a :class:`Tokenization` with any Hugging Face tokenizer that adds special tokens and has a padding token.

    Raises:
        InputError: a marker or a token of the skiplist is not in the vocabulary, query augmentation is on and the
            tokenizer has no mask token, or a prompt leaves no room for text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, tokenization: Tokenization):
        import torch

        self.tokenizer = tokenizer
        self.tokenization = tokenization
        self.query_marker = self._token_id(tokenization.query_marker, "model.tokenization.query_marker")
        self.document_marker = self._token_id(tokenization.document_marker, "model.tokenization.document_marker")
        self.mask: Any = tokenizer.mask_token_id
        if tokenization.query_augmentation and self.mask is None:
            raise InputError("The tokenizer has no mask token: set model.tokenization.query_augmentation=false.")
        skipped = {self._known_id(word, "model.tokenization.skiplist") for word in tokenization.skiplist}
        if tokenization.skip_punctuation:
            skipped |= {tokenizer.get_vocab()[token] for token in punctuation_tokens(tokenizer)}
        # If the tokenizer pads with its mask token (as saved by PyLate), a text can't spell padding.
        padding_spelled = not tokenization.literal_tokens and tokenizer.pad_token_id != self.mask
        self.padding: Any = tokenizer.pad_token_id if padding_spelled else None
        if self.padding is not None:
            skipped.add(self.padding)
        if tokenization.literal_tokens:
            tokenizer.add_tokens([one for one in (tokenization.query_marker, tokenization.document_marker) if one])
        self.skipped = torch.tensor(sorted(skipped), dtype=torch.long)
        for task in ("query", "document"):
            prompt, maxlen = (getattr(tokenization, f"{task}_{name}") for name in ("prompt", "maxlen"))
            self._refuse_long(task, prompt, maxlen)

    def _refuse_long(self, task: str, prompt: str, length: int) -> None:
        if prompt and len(self._rows(task, [""], prompt, length)[0]) >= length:
            raise InputError(
                f"model.tokenization.{task}_prompt fills all {length} tokens of {task}_maxlen; expected a prompt that "
                "leaves room for the text."
            )

    def _token_id(self, token: str | None, knob: str) -> int | None:
        return None if token is None else self._known_id(token, knob)

    def _known_id(self, token: str, knob: str) -> int:
        if token not in (vocabulary := self.tokenizer.get_vocab()):
            raise InputError(
                f"{knob} is {token!r}, which is not in the tokenizer's vocabulary; use a token of it or null."
            )
        return vocabulary[token]

    def _rows(self, task: str, texts: list[str], prompt: str, maxlen: int) -> list[list[int]]:
        marker = getattr(self, f"{task}_marker")
        texts = [prompt + text for text in texts] if prompt else texts
        ids = self.tokenizer(texts, truncation=True, max_length=maxlen - (marker is not None))["input_ids"]
        return ids if marker is None else [[row[0], marker, *row[1:]] for row in ids]

    def _ids(self, task: str, texts: list[str], prompt: str | None, maxlen: int | None) -> list[list[int]]:
        own = self.tokenization
        prompt_used = getattr(own, f"{task}_prompt") if prompt is None else prompt
        length = maxlen or getattr(own, f"{task}_maxlen")
        if prompt is not None or maxlen is not None:
            self._refuse_long(task, prompt_used, length)
        return self._rows(task, texts, prompt_used, length)

    def query_ids(self, texts: list[str], prompt: str | None = None, maxlen: int | None = None) -> list[list[int]]:
        """Return the token ids of queries, with marker, prompt and special tokens, before augmentation.

        ``prompt`` and ``maxlen`` replace those of the tokenization, if they are not None.
        """
        return self._ids("query", texts, prompt, maxlen)

    def document_ids(self, texts: list[str], prompt: str | None = None, maxlen: int | None = None) -> list[list[int]]:
        """Return the token ids of documents, with marker, prompt and special tokens.

        ``prompt`` and ``maxlen`` replace those of the tokenization, if they are not None.
        """
        return self._ids("document", texts, prompt, maxlen)

    def pad_queries(self, rows: list[list[int]], maxlen: int | Sequence[int] | None = None) -> Encoding:
        """Pad a batch of queries.

        With augmentation, each gets its own padded length, and all these tokens are scored. Queries that are shorter
        than the longest one are padded further with tokens that are neither attended to nor scored.

        Args:
            rows: token ids of each query.
            maxlen: the length at which queries were cut, or one for each query; ``None`` means ``query_maxlen``.
        """
        import torch

        if not self.tokenization.query_augmentation:
            ids, real = pad(rows, self.tokenizer.pad_token_id)
            return Encoding(ids, real.long(), real)
        cuts = maxlen if isinstance(maxlen, Sequence) else [maxlen] * len(rows)
        lengths = [self.tokenization.padded_length(len(row), cut) for row, cut in zip(rows, cuts, strict=True)]
        ids, real = pad(rows, self.mask, max(lengths, default=0))
        if self.padding is not None:
            ids = ids.masked_fill(ids == self.padding, self.mask)
        within = torch.arange(ids.shape[1]) < torch.tensor(lengths, dtype=torch.long)[:, None]
        attention = within.long() if self.tokenization.attend_to_mask_tokens else real.long()
        return Encoding(ids, attention, within)

    def pad_documents(self, rows: list[list[int]]) -> Encoding:
        """Pad a batch of documents to its longest; punctuation, the skiplist and spelled padding are not scored."""
        import torch

        ids, real = pad(rows, self.tokenizer.pad_token_id)
        return Encoding(ids, real.long(), real & ~torch.isin(ids, self.skipped))

    def queries(self, texts: list[str], settings: Sequence[TextSettings] | None = None) -> Encoding:
        """Tokenise and pad a batch of queries, each with its own ``settings``, or all with the model's."""
        if settings is None:
            return self.pad_queries(self.query_ids(texts))
        lengths = [one.maxlen or self.tokenization.query_maxlen for one in settings]
        return self.pad_queries(rows_of(self.query_ids, texts, settings), lengths)

    def documents(self, texts: list[str], settings: Sequence[TextSettings] | None = None) -> Encoding:
        """Tokenise and pad a batch of documents, each with its own ``settings``, or all with the model's."""
        if settings is None:
            return self.pad_documents(self.document_ids(texts))
        return self.pad_documents(rows_of(self.document_ids, texts, settings))


def rows_of(
    ids_of: Callable[..., list[list[int]]], texts: Sequence[str], settings: Sequence[TextSettings]
) -> list[list[int]]:
    """The token ids of texts, each with its own settings: ``ids_of`` is called once for those with equal settings."""
    rows: list[list[int]] = [[]] * len(texts)
    for chosen in dict.fromkeys(settings):
        places = [place for place, own in enumerate(settings) if own == chosen]
        for place, row in zip(places, ids_of([texts[place] for place in places], *chosen), strict=True):
            rows[place] = row
    return rows


def pad(rows: list[list[int]], filler: Any, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Pad rows to ``length``, or the longest row, with ``filler``; return ids ``[B, L]`` and where they are real."""
    import torch

    length = length or max(map(len, rows), default=0)
    ids = torch.full((len(rows), length), filler)
    real = torch.zeros((len(rows), length), dtype=torch.bool)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = torch.tensor(row)
        real[position, : len(row)] = True
    return ids, real
