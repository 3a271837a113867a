"""Shared fixtures: a machine on which nothing is that has declared sizes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from colbertv2.planning import declared, transformers


@pytest.fixture(scope="session")
def absence() -> Callable[[], AbstractContextManager[None]]:
    """A context in which everything with declared sizes looks absent; other tests may have put MS MARCO here."""

    def is_declared_model(name):
        return name in declared.table()["models"]

    @contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(declared, "is_declared_collection", declared.is_listed)
            patch.setattr(declared, "is_declared_model", is_declared_model)
            patch.setattr(transformers, "is_declared_model", is_declared_model)
            yield

    return context


@pytest.fixture
def nothing_here(absence):
    """That context for one test."""
    with absence():
        yield
