"""Analyses that explain scores, rankings, centroids and training data.

- ``decomposition``: the loss caused by each step from exact MaxSim to an engine's result, per query.
- ``explain``: a score, or the difference of two rankings, down to tokens.
- ``centroids``: the tokens at each centroid, the centroids of each token, and the residuals.
- ``supervision``: the teacher's scores and the hard negatives that a training round learned from.

All functions return data; the figures are in ``colbertv2.reporting``.
"""
