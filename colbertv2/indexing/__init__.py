"""Embeddings on disk, and the index that is built from them."""

from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index
from colbertv2.indexing.packed import Packed

__all__ = ["Embeddings", "EmbeddingsWriter", "Index", "Packed"]
