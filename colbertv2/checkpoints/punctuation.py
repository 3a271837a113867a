"""Which tokens of a vocabulary are punctuation, whatever the kind of tokenizer.

``string.punctuation`` has 32 symbols. colbert-ai leaves out the first token of each; PyLate, and sentence-transformers
after it, the token spelled like it. With WordPiece, as BERT has it, the three are the same. Where a token carries the
space before it they miss ``" ("`` and its like (byte-level BPE: RoBERTa, ModernBERT), and the first token of a symbol
may be that space alone (SentencePiece: XLM-R). Here a token counts by its text without that mark. Tokens of several
symbols, such as ``"..."``, are in no system's list, and are kept.
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
    """All tokens whose text is one symbol of ``string.punctuation``, but for a mark of where a word begins.

    The text is what the tokenizer's own decoder makes of the token behind a word, so every kind of mark is known to it;
    a tokenizer without a decoder has no marks.
    """
    symbols = set(PUNCTUATION)
    fast: Any = tokenizer  # whose slow kind has no `backend_tokenizer`
    decodes = not tokenizer.is_fast or fast.backend_tokenizer.decoder is not None

    def text(token: str) -> str:
        return tokenizer.convert_tokens_to_string([WORD, token]).removeprefix(WORD).strip() if decodes else token

    return {token for token in tokenizer.get_vocab() if not symbols.isdisjoint(token) and text(token) in symbols}


def are_punctuation(words: Collection[str], tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a list of tokens that are left out leaves out all punctuation that texts can have."""
    contexts = [
        text for symbol in PUNCTUATION for text in (symbol, WORD + symbol, f"{WORD} {symbol}", f"{symbol}{WORD}")
    ]
    found = {token for text in contexts for token in tokenizer.tokenize(text)}
    return (found & punctuation_tokens(tokenizer)) <= set(words)
