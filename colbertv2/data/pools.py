"""Pools: which documents each query is searched among, where that is not the whole collection.

Documents and queries of such an ``ir_datasets`` id have the field ``pool_id``; in PeerQA that is the paper. A pool
takes part in no address of its own: ids must tell pools apart, as PeerQA's do.
"""

from colbertv2.data.opening import reading
from colbertv2.data.queries import Queries
from colbertv2.errors import InputError


def query_pools(queries: Queries) -> dict[str, str]:
    """Query id → its pool, in the order of ``queries``.

    Raises:
        InputError: the queries have no ``pool_id``.
    """
    dataset = queries.dataset
    require(queries.id, "queries", dataset.queries_cls())
    with reading(queries.id, dataset.queries_handler()):
        pools = {query.query_id: query.pool_id for query in dataset.queries_iter()}
    return {query_id: pools[query_id] for query_id, _ in queries}


def document_pools(queries: Queries) -> dict[str, str]:
    """Document id → its pool, in corpus order, of the documents that belong to the id of ``queries``.

    Raises:
        InputError: the id has no documents, or they have no ``pool_id``.
    """
    dataset = queries.dataset
    require(queries.id, "documents", dataset.docs_cls() if dataset.has_docs() else None)
    with reading(queries.id, dataset.docs_handler()):
        return {document.doc_id: document.pool_id for document in dataset.docs_iter()}


def require(dataset_id: str, kind: str, record: type | None) -> None:
    """InputError for records without a pool."""
    if "pool_id" not in getattr(record, "_fields", ()):
        raise InputError(
            f"The {kind} of {dataset_id!r} have no pool_id, so nothing says which documents belong to which query; "
            "use collection=peerqa, or another pipeline."
        )
