"""Why scores and rankings are what they are, down to tokens and centroids."""
