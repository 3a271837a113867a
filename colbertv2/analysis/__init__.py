"""Why scores and rankings are what they are.

- ``decomposition``: what each step from exact MaxSim to an engine's answer costs, per query.
- ``explain``: a score, and the difference of two rankings, down to tokens.
- ``centroids``: the tokens at each centroid, the centroids of each token, and the residuals.
- ``supervision``: what a training round learned from.

They return data; their figures are in ``colbertv2.reporting``.
"""
