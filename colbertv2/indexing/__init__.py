"""Embeddings on disk, and the index built from them."""
