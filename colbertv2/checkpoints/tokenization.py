"""How text becomes scored tokens: settings that are part of every checkpoint (ColBERTv2 §3.1)."""

from dataclasses import dataclass
from typing import ClassVar

from colbertv2.schema import MaxLength, checked


@checked
@dataclass(frozen=True)
class Tokenization:
    """How text becomes scored tokens. It is saved with every checkpoint, so search can't differ from training.

    Args:
        query_maxlen, document_maxlen: maximum lengths in tokens, including markers and special tokens.
        query_marker, document_marker: the token of the vocabulary that follows ``[CLS]``, or ``None``.
        query_augmentation: pad queries to ``query_maxlen`` with ``[MASK]``.
        attend_to_mask_tokens: let other tokens attend to those ``[MASK]`` tokens.
        skip_punctuation: leave punctuation of documents out of MaxSim: every token that is one symbol, with or without
            the space before it (:mod:`colbertv2.checkpoints.punctuation`).
        skiplist: other tokens of the vocabulary whose document vectors are left out, as PyLate supports it. If a PyLate
            checkpoint leaves out only the bare symbols, but its tokenizer also has others, the symbols are listed here.
        literal_tokens: what a special token means that is spelled out in a text. If ``False``, as in colbert-ai,
            ``[PAD]`` is padding, so it becomes ``[MASK]`` in an augmented query and is not scored in a document; a
            marker is plain text. If ``True``, as in PyLate, both are the tokens that they spell, and are scored.
        query_prompt, document_prompt: texts before every query and every document, after the marker, such as
            ``"search_query: "``. They count towards the maximum length, and their tokens are scored.
    """

    neutral: ClassVar[dict[str, str]] = {"query_prompt": "", "document_prompt": ""}

    query_maxlen: MaxLength
    document_maxlen: MaxLength
    query_marker: str | None
    document_marker: str | None
    query_augmentation: bool
    attend_to_mask_tokens: bool
    skip_punctuation: bool
    skiplist: tuple[str, ...] = ()
    literal_tokens: bool = False
    query_prompt: str = ""
    document_prompt: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "skiplist", tuple(self.skiplist))  # configurations and files contain lists
