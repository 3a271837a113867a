"""Other systems' files: checkpoints, indexes and training data of colbert-ai, PyLate and fast-plaid."""
