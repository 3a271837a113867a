"""Clustering token vectors with k-means, and assigning vectors to centroids (ColBERTv2 §3.3)."""
