"""Read and write files of other systems: indexes and training data of colbert-ai, PyLate and fast-plaid."""
