"""Why scores and rankings are what they are.

- ``decomposition``: what each step from exact MaxSim to an engine's answer costs, query by query.
- ``explain``: a score, and the difference of two rankings, down to tokens (``maxsim_map``).
- ``centroids``: the tokens at each centroid and the centroids of each token (``tokens``).
- ``residuals``: what is left beside centroids, by dimension, against the buckets that hold it.
- ``supervision``: what a round was taught.

They return data; their figures are in ``colbertv2.reporting``.
"""
