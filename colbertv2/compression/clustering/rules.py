"""How many centroids and how many sampled documents to use (ColBERTv2 §3.3 and the official code)."""

import math


def num_centroids_rule(num_vectors: float) -> int:
    """The official number of centroids, 2^⌊log2(16·√vectors)⌋.

    ``num_vectors`` is the number of vectors in the collection. The official code estimates it as the number of
    documents times their mean length.

    >>> num_centroids_rule(600_000_000)  # MS MARCO passages: 2^18
    262144
    """
    return 2 ** max(0, math.floor(math.log2(16 * math.sqrt(num_vectors)))) if num_vectors > 0 else 1


def num_sampled_documents_rule(num_documents: int) -> int:
    """The official number of documents to learn centroids from, min(1 + ⌊16·√(120·documents)⌋, documents).

    It is the rule of colbert-ai (``CollectionIndexer._sample_pids``), which takes 120 tokens as the typical length of a
    document.

    >>> num_sampled_documents_rule(8_841_823), num_sampled_documents_rule(5_000)
    (521173, 5000)
    """
    return min(1 + int(16 * math.sqrt(120 * num_documents)), num_documents)
