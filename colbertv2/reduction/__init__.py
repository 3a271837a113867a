"""Fewer vectors per document: token pooling and token pruning, between encoding and indexing."""
