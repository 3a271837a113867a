"""Find the punctuation tokens of a vocabulary, for any kind of tokenizer.

``string.punctuation`` has 32 symbols. For each, colbert-ai leaves out the first token that the symbol is split into;
PyLate, and sentence-transformers after it, leave out the token that is spelled like it. With WordPiece (BERT), all of
them find the same tokens. If tokens include the space before them, these rules miss tokens such as ``" ("`` (byte-level
BPE: RoBERTa, ModernBERT), and the first token of a symbol may be just the space (SentencePiece: XLM-R). Here a token's
text is compared without the mark for the space. Tokens of several symbols, such as ``"..."``, are on no system's list
and are kept.
"""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from colbertv2.checkpoints.tokenization import Tokenization

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PUNCTUATION = tuple(string.punctuation)
WORD = "x"


def punctuation_tokens(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Return all tokens whose text is one symbol of ``string.punctuation``, apart from a mark for the start of a word.

    The text comes from the tokenizer's own decoder, given a word and then the token, so every kind of mark is handled.
    A tokenizer without a decoder has no marks.
    """
    symbols = set(PUNCTUATION)
    fast: Any = tokenizer  # for the type checker: slow tokenizers have no `backend_tokenizer`
    decodes = not tokenizer.is_fast or fast.backend_tokenizer.decoder is not None

    def text(token: str) -> str:
        return tokenizer.convert_tokens_to_string([WORD, token]).removeprefix(WORD).strip() if decodes else token

    return {token for token in tokenizer.get_vocab() if not symbols.isdisjoint(token) and text(token) in symbols}


def are_punctuation(words: Collection[str], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether ``words``, tokens to leave out, include all punctuation tokens that texts can contain."""
    contexts = [
        text for symbol in PUNCTUATION for text in (symbol, WORD + symbol, f"{WORD} {symbol}", f"{symbol}{WORD}")
    ]
    found = {token for text in contexts for token in tokenizer.tokenize(text)}
    return (found & punctuation_tokens(tokenizer)) <= set(words)


def read_skiplist(
    words: Sequence[str], tokenizer: PreTrainedTokenizerBase, unknown_words: bool
) -> tuple[bool, tuple[str, ...]]:
    """Return whether ``skiplist_words`` leave out all punctuation, and which other tokens they leave out.

    PyLate and sentence-transformers look up each word as the token of that spelling. So PyLate's default, the bare
    symbols, is all punctuation with BERT's tokenizer. With RoBERTa's or ModernBERT's it does not include ``" ("``, and
    the checkpoint was trained that way.

    Args:
        words: the words of the file.
        tokenizer: the checkpoint's tokenizer.
        unknown_words: whether a word that the vocabulary lacks is looked up as the unknown token, which is then left
            out, as in PyLate; in sentence-transformers such a word does nothing.
    """
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    unknown: Any = tokenizer.unk_token if unknown_words else None
    tokens = list(dict.fromkeys(token for word in words if (token := word if word in vocabulary else unknown)))
    if not are_punctuation(tokens, tokenizer):
        return False, tuple(tokens)
    punctuation = punctuation_tokens(tokenizer)
    return True, tuple(token for token in tokens if token not in punctuation)


def written_skiplist(tokenization: Tokenization, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return ``skiplist_words`` that :func:`read_skiplist` turns back into this tokenization's settings."""
    if not tokenization.skip_punctuation:
        return list(tokenization.skiplist)
    words = [symbol for symbol in PUNCTUATION if symbol in tokenizer.get_vocab()]
    if not are_punctuation(words, tokenizer):
        words = sorted(punctuation_tokens(tokenizer))
    return [*words, *tokenization.skiplist]
