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
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

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
