"""Embeddings on disk, the index, and the engines that search it."""

from colbertv2.retrieval.cascade import Cascade
from colbertv2.retrieval.colbertv2 import PaperEngine
from colbertv2.retrieval.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.retrieval.exhaustive import Exhaustive
from colbertv2.retrieval.index import Index
from colbertv2.retrieval.packed import Packed
from colbertv2.retrieval.plaid import Plaid
from colbertv2.retrieval.searcher import Engine, Searcher

__all__ = [
    "Cascade",
    "Embeddings",
    "EmbeddingsWriter",
    "Engine",
    "Exhaustive",
    "Index",
    "Packed",
    "PaperEngine",
    "Plaid",
    "Searcher",
]
