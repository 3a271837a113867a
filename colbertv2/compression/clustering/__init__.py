"""Clustering of token vectors: k-means, and the assignment of vectors to centroids (ColBERTv2 §3.3)."""
