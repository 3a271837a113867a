"""Deferred annotations are resolved in the module that they were written in, and none is left out."""

import importlib
import sys

import pytest

from colbertv2.artifacts.node import Component
from colbertv2.artifacts.validate import component_problems
from colbertv2.errors import InputError
from colbertv2.schema import PositiveInt, hints_of

BASE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar
from annotated_types import Interval
from colbertv2.schema import checked
if TYPE_CHECKING:
    from decimal import Decimal

Factor = Annotated[float, Interval(ge=1, le=9)]

@checked
@dataclass
class Base:
    factor: Factor
    neutral: ClassVar[dict[str, float]] = {}

class Plain:
    def __init__(self, factor: Factor) -> None:
        self.factor = factor

@dataclass
class Unresolved:
    price: Decimal
"""
DERIVED = """
from __future__ import annotations
from dataclasses import dataclass
from colbertv2.schema import PositiveInt as Number, checked
from annotations_base import Base, Plain

@checked
@dataclass
class Derived(Base):
    number: Number = 1

@checked
@dataclass
class Narrowed(Base):
    factor: Number

@checked
class Inherited(Plain):
    pass
"""


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    directory = tmp_path_factory.mktemp("annotations")
    for name, text in (("annotations_base", BASE), ("annotations_derived", DERIVED)):
        (directory / f"{name}.py").write_text(text)
    sys.path.insert(0, str(directory))
    yield importlib.import_module("annotations_base"), importlib.import_module("annotations_derived")
    sys.path.remove(str(directory))
    for name in ("annotations_base", "annotations_derived"):
        del sys.modules[name]


def test_an_inherited_field_is_checked_by_the_annotation_of_its_own_module(modules):
    base, derived = modules
    assert not hasattr(derived, "Factor"), "so it can only be resolved in the other module"
    assert hints_of(derived.Derived)["factor"] == hints_of(base.Base)["factor"] == base.Factor
    assert hints_of(derived.Derived)["number"] == PositiveInt
    assert derived.Derived(2.0, 3).factor == 2.0
    for kind in (base.Base, derived.Derived, derived.Inherited):
        with pytest.raises(InputError, match=f"{kind.__name__}: 'factor' is 0.5; expected a number from 1 to 9"):
            kind(0.5)
    with pytest.raises(InputError, match="Derived: 'number' is 0"):
        derived.Derived(2.0, 0)


def test_a_field_that_a_subclass_defines_again_has_its_annotation(modules):
    assert hints_of(modules[1].Narrowed)["factor"] == PositiveInt
    with pytest.raises(InputError, match=r"'factor' is 2\.5; expected a whole number"):
        modules[1].Narrowed(2.5)


def test_an_annotation_that_cannot_be_resolved_is_named(modules):
    with pytest.raises(TypeError, match="Unresolved: the annotation 'Decimal' of 'price' can't be resolved"):
        hints_of(modules[0].Unresolved)
    component = Component("price", "annotations_base.Unresolved", {"price": 1})
    assert "price (Unresolved): annotations_base.Unresolved: the annotation" in next(component_problems(component))
