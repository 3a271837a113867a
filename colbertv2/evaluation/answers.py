"""Whether a passage holds an answer, as DPR decides (Karpukhin et al., EMNLP 2020; its ``qa_validation``).

Passage and answer are put into Unicode's NFD and cut into tokens: a run of letters, digits and marks, or any single
other character that is neither space nor control. The answer's tokens, lower-cased, must follow each other in the
passage's. DPR looks at the passage's text alone; the official ColBERT code (``annotate_EM``) at ``title | text``, so
that an answer in the title counts there. To both an answer without tokens is in every text; here it is in none.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from unicodedata import category, normalize

Matcher = Callable[[str], bool]
BETWEEN = "\0"  # is in no token: a control character


def tokens(text: str) -> list[str]:
    """The lower-cased tokens of a text.

    >>> tokens("Brahms's 4th,  in E-minor")
    ['brahms', "'", 's', '4th', ',', 'in', 'e', '-', 'minor']
    """
    return [token.lower() for token in cut(normalize("NFD", text))]


def cut(text: str) -> Iterator[str]:
    """The tokens of a text as they stand."""
    for in_word, run in groupby(text, key=lambda character: category(character)[0] in "LNM"):
        if in_word:
            yield "".join(run)
        else:
            yield from (character for character in run if category(character)[0] not in "ZC")


def token_matcher(answers: Sequence[str]) -> Matcher:
    """Whether a text holds the tokens of one of ``answers`` in a row; an answer without tokens is in no text.

    >>> has_answer = token_matcher(["New York"])
    >>> has_answer("He left NEW\\nYORK."), has_answer("a new Yorker")
    (True, False)
    """
    wanted = [found for found in map(tokens, answers) if found]
    rows = [joined(found) for found in wanted]
    parts = [[token.casefold() for token in found] for found in wanted]

    def matches(text: str) -> bool:
        folded = normalize("NFD", text).casefold()
        # Cutting takes a thousand times as long as looking for the parts anywhere, which most passages lack.
        likely = [row for row, needed in zip(rows, parts, strict=True) if all(part in folded for part in needed)]
        if not likely:
            return False
        row = joined(tokens(text))
        return any(answer in row for answer in likely)

    return matches


def joined(found: Sequence[str]) -> str:
    """Tokens as one string in which only whole tokens can be found."""
    return BETWEEN + BETWEEN.join(found) + BETWEEN


def regex_matcher(answers: Sequence[str]) -> Matcher:
    """Whether one of ``answers``, as a regular expression, is found in a text, upper and lower case alike.

    As in DPR, an answer that is no regular expression is found in no text.

    >>> regex_matcher([r"19[67]9", "("])("In July 1969, …")
    True
    """
    patterns = []
    for answer in answers:
        try:
            patterns.append(re.compile(normalize("NFD", answer), re.IGNORECASE | re.MULTILINE))
        except re.error:
            continue
    return lambda text: any(pattern.search(normalize("NFD", text)) for pattern in patterns)
