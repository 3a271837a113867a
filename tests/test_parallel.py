import time

import pytest
import torch
from threadpoolctl import threadpool_info

from colbertv2.parallel import parallel_map


@pytest.fixture(params=[1, 3])
def num_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order(num_threads):
    def slow_at_first(item):
        time.sleep(0.01 if item < 3 else 0)
        return item * 2

    assert list(parallel_map(slow_at_first, range(40))) == [2 * item for item in range(40)]
    assert list(parallel_map(slow_at_first, [])) == []


def test_few_items_are_taken_ahead(num_threads):
    taken = []
    results = parallel_map(lambda item: item, (taken.append(item) or item for item in range(100)))
    next(results)
    assert len(taken) <= 2 * num_threads + 1


def test_errors_are_raised(num_threads):
    with pytest.raises(ZeroDivisionError):
        list(parallel_map(lambda item: 1 / item, [1, 0, 2]))


def test_blas_has_one_thread_within_and_as_many_as_before_after():
    def blas_threads(_=None):
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    before = blas_threads()
    assert 1 in next(iter(parallel_map(blas_threads, [0])))
    assert blas_threads() == before
