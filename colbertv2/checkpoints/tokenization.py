"""How text becomes scored tokens: the settings that every checkpoint carries (ColBERTv2 §3.1)."""

from dataclasses import dataclass

from colbertv2.schema import MaxLength, checked


@checked
@dataclass(frozen=True)
class Tokenization:
    """How text becomes scored tokens. Saved with every checkpoint, so that search cannot differ from training.

    Args:
        query_maxlen, document_maxlen: tokens, markers and special tokens included.
        query_marker, document_marker: a token of the vocabulary put behind ``[CLS]``, or ``None``.
        query_augmentation: fill queries up to ``query_maxlen`` with ``[MASK]``.
        attend_to_mask_tokens: let other tokens attend to those masks.
        skip_punctuation: leave documents' punctuation out of MaxSim: every token of one symbol, with or without the
            space before it (:mod:`colbertv2.checkpoints.punctuation`).
        skiplist: further tokens of the vocabulary whose vectors are left out, as PyLate can be told. A checkpoint of
            PyLate's that leaves out bare symbols alone, with a tokenizer that has others, too, lists them here.
        literal_tokens: what the spelling of a special token within a text means. ``False``, as in colbert-ai: ``[PAD]``
            is padding, so ``[MASK]`` in an augmented query and not scored in a document, and a marker is plain text.
            ``True``, as in PyLate: both are the tokens they spell, and scored.
    """

    query_maxlen: MaxLength
    document_maxlen: MaxLength
    query_marker: str | None
    document_marker: str | None
    query_augmentation: bool
    attend_to_mask_tokens: bool
    skip_punctuation: bool
    skiplist: tuple[str, ...] = ()
    literal_tokens: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "skiplist", tuple(self.skiplist))  # configurations and files have lists
