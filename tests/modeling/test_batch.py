"""Groups of similar length hold every row once, and no other division costs less."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from colbertv2.modeling.batch import length_groups


def padded(lengths: list[int], pass_tokens: int, cuts: int) -> int:
    """The cost of sorted rows that are divided behind each row whose bit of ``cuts`` is set."""
    cost = begin = 0
    for end in range(1, len(lengths) + 1):
        if end == len(lengths) or cuts >> (end - 1) & 1:
            cost += (end - begin) * lengths[end - 1] + pass_tokens
            begin = end
    return cost


@given(st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 40))
def test_no_other_groups_cost_less(lengths: list[int], pass_tokens: int):
    mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
    groups = length_groups(mask, pass_tokens)
    assert sorted(torch.cat([rows for rows, _ in groups]).tolist()) == [*range(len(lengths))]
    assert all(longest == max(lengths[row] for row in rows.tolist()) for rows, longest in groups)
    cost = sum(len(rows) * longest + pass_tokens for rows, longest in groups)
    ordered = sorted(lengths)
    assert cost == min(padded(ordered, pass_tokens, cuts) for cuts in range(2 ** (len(lengths) - 1)))


def test_a_costly_pass_leaves_one_group_and_a_free_one_no_padding():
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    assert [len(rows) for rows, _ in length_groups(mask, 100)] == [4]
    assert [longest for _, longest in length_groups(mask, 0)] == [1, 2, 3]
