"""How text becomes scored tokens: settings that are part of every checkpoint (ColBERTv2 §3.1)."""

from dataclasses import dataclass
from typing import ClassVar

from colbertv2.errors import InputError
from colbertv2.schema import MaxLength, NonNegativeInt, PositiveInt, checked


@checked
@dataclass(frozen=True)
class Tokenization:
    """How text becomes scored tokens. It is saved with every checkpoint, so search can't differ from training.

    Args:
        query_maxlen, document_maxlen: maximum lengths in tokens, including markers and special tokens.
        query_marker, document_marker: the token of the vocabulary that follows ``[CLS]``, or ``None``.
        query_augmentation: pad queries with ``[MASK]``: to ``query_maxlen``, or as the next two say.
        query_length_multiple: pad each query to the next multiple of this number of tokens; ``None`` pads to
            ``query_maxlen``. Queries are cut at ``query_maxlen`` in any case.
        minimum_mask_tokens: pad with at least this many ``[MASK]`` tokens, so a query may become longer than that. A
            multiple of 32 and at least 8 masks are JaColBERTv2.5's dynamic query length (Clavié 2024, arXiv:2407.20750,
            §3.5); a multiple of 1 adds the same number of masks to every query.
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

    Raises:
        InputError: a value is out of range, or there are settings of the padding, but no ``query_augmentation``.

    >>> fixed = Tokenization(32, 180, None, None, True, False, True)
    >>> dynamic = Tokenization(500, 180, None, None, True, False, True, query_length_multiple=32, minimum_mask_tokens=8)
    >>> [(tokenization.padded_length(5), tokenization.padded_length(25)) for tokenization in (fixed, dynamic)]
    [(32, 32), (32, 33)]
    """

    neutral: ClassVar[dict[str, object]] = {
        "query_prompt": "",
        "document_prompt": "",
        "query_length_multiple": None,
        "minimum_mask_tokens": 0,
    }

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
    query_length_multiple: PositiveInt | None = None
    minimum_mask_tokens: NonNegativeInt = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "skiplist", tuple(self.skiplist))  # configurations and files contain lists
        if self.is_dynamic and not self.query_augmentation:
            raise InputError(
                f"query_length_multiple is {self.query_length_multiple} and minimum_mask_tokens is "
                f"{self.minimum_mask_tokens}, but query_augmentation is false, so queries are not padded; set it to "
                "true, or the others to null and 0."
            )

    @property
    def is_dynamic(self) -> bool:
        """Whether augmented queries may have different lengths, which the layouts of other systems can't say."""
        return self.query_length_multiple is not None or self.minimum_mask_tokens > 0

    def padded_length(self, length: int, maxlen: int | None = None) -> int:
        """The length of a query after augmentation, in tokens.

        Args:
            length: the length before, markers and special tokens included.
            maxlen: the length at which queries are cut; ``None`` means ``query_maxlen``.
        """
        if not self.query_augmentation:
            return length
        multiple = self.query_length_multiple
        target = maxlen or self.query_maxlen if multiple is None else -(-length // multiple) * multiple
        return max(target, length + self.minimum_mask_tokens)

    @property
    def longest(self) -> dict[str, int]:
        """Name → the greatest number of tokens that the encoder reads at once, of queries and of documents."""
        queries = self.padded_length(self.query_maxlen)
        name = "query_maxlen" if queries <= self.query_maxlen else "query_maxlen with its [MASK] tokens"
        return {name: queries, "document_maxlen": self.document_maxlen}
