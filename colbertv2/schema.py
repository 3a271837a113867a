"""Check values against the annotations of a signature: types, choices and ranges.

The signatures of stages and components are the schema of the configuration. A range is part of the annotation, as
``Annotated`` with constraints of ``annotated_types``; the names below are those used more than once. Validation checks
the annotations before any work, and a class that is ``@checked`` checks them whenever it is constructed, so that no
constructor needs checks of its own for them.
"""

import inspect
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache, wraps
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MinLen

from colbertv2.errors import InputError

Class = TypeVar("Class", bound=type)

LARGEST = 2**31 - 1  # fits into every array index and every library's counter

PositiveInt = Annotated[int, Interval(ge=1, le=LARGEST)]
NonNegativeInt = Annotated[int, Interval(ge=0, le=LARGEST)]
MaxLength = Annotated[int, Interval(ge=4, le=LARGEST)]  # tokens: [CLS], a marker, a token, [SEP]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]  # accepted by numpy, torch and faiss
Fraction = Annotated[float, Interval(ge=0, le=1)]
Weight = Annotated[float, Interval(ge=0, le=1e6)]
Scale = Annotated[float, Interval(ge=1e-6, le=1e6)]  # a factor or a divisor, such as a temperature
Factor = Annotated[float, Interval(ge=1, le=LARGEST)]  # by which something becomes fewer
Text = Annotated[str, MinLen(1)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]  # for encoding and scoring, with Lightning's names

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
WORDS[type(None)] = "null"


def checked(kind: Class) -> Class:
    """Make the constructor of a class raise ``InputError`` for the first argument that does not fit its annotation.

    >>> @checked
    ... class Sampler:
    ...     def __init__(self, number: PositiveInt, share: Fraction = 1.0):
    ...         self.number, self.share = number, share
    >>> Sampler(3).number
    3
    >>> Sampler(0)
    Traceback (most recent call last):
    colbertv2.errors.InputError: Sampler: 'number' is 0; expected a whole number of at least 1.
    """
    construct: Any = kind.__init__
    signature = inspect.signature(construct)

    @wraps(construct)
    def __init__(self: Any, *arguments: Any, **named: Any) -> None:
        given = signature.bind(self, *arguments, **named).arguments
        for problem in misfits(hints_of(kind), given):
            raise InputError(f"{type(self).__name__}: {problem}")
        construct(self, *arguments, **named)

    kind.__init__ = __init__  # type: ignore[misc]
    return kind


def misfits(
    hints: Mapping[str, Any],
    given: Mapping[str, Any],
    is_a: Callable[[Any, type], bool] = isinstance,
    show: Callable[[Any], str] | None = None,
) -> Iterator[str]:
    """Yield a sentence for each argument that does not fit its annotation.

    Args:
        hints: annotations by name, as from ``hints_of``.
        given: arguments by name; those without an annotation always fit.
        is_a: whether a value counts as an instance of a class: ``isinstance``, or a function that also knows the
            configuration's stand-ins for objects.
        show: describes a value in a message: ``shown`` if ``None``, or a function that also knows stand-ins.
    """
    for name, value in given.items():
        if name in hints and not fits(value, hints[name], is_a):
            yield f"{name!r} is {(show or shown)(value)}; expected {written(hints[name], value)}."


@cache
def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a signature by name, with their ranges.

    A deferred annotation is resolved where it was written: that of a field in the module of the class that defines the
    field, which may be another one than that of a subclass.

    Args:
        target: a function, or a class, whose constructor's signature counts.

    Raises:
        TypeError: an annotation can't be resolved, so its argument could not be checked.
    """
    function: Any = target.__init__ if isinstance(target, type) else target
    found: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            found |= get_type_hints(one, namespace_of(target, name, annotation), include_extras=True)
        except NameError as error:
            raise TypeError(
                f"{target.__module__}.{target.__qualname__}: the annotation {annotation!r} of {name!r} can't be "
                f"resolved ({error}). Import its names at run time, not only for type checkers."
            ) from None
    return found


def namespace_of(target: Callable[..., Any], name: str, annotation: Any) -> dict[str, Any]:
    """The names that an annotation of a signature may use: those of the module in which it was written."""
    for kind in target.__mro__ if isinstance(target, type) else ():
        if vars(kind).get("__annotations__", {}).get(name) == annotation:
            return vars(sys.modules[kind.__module__])
    function: Any = target.__init__ if isinstance(target, type) else target
    return getattr(inspect.unwrap(function), "__globals__", {})


def fits(value: Any, hint: Any, is_a: Callable[[Any, type], bool] = isinstance) -> bool:
    """Whether ``value`` fits the annotation ``hint``. A hint that cannot be checked at run time fits every value.

    >>> fits(2, PositiveInt), fits(0, PositiveInt), fits(True, PositiveInt), fits(None, PositiveInt | None)
    (True, False, False, True)
    >>> fits(float("nan"), float), fits([1, "a"], list[int]), fits("abc", list[str]), fits(3, Literal[1, 2, 4, 8])
    (False, False, False, False)
    """
    kind, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind is Annotated:
        return fits(value, inner[0], is_a) and all(within(value, bound) for bound in bounds_of(hint))
    if kind in (Union, types.UnionType):
        return any(fits(value, option, is_a) for option in inner)
    if kind is Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:  # neither NaN nor infinite, nor an int too large for a float
        number = isinstance(value, Real) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # pyright: ignore[reportOperatorIssue]
    if hint is Path:
        return isinstance(value, (str, Path))
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(item, inner[1], is_a) for item in value.values())
    if isinstance(kind, type) and issubclass(kind, Collection):
        return isinstance(value, (list, tuple)) and all(fits(item, inner[0], is_a) for item in value)
    try:
        return is_a(value, kind or hint)
    except TypeError:  # Any, type variables, protocols that cannot be checked at run time
        return True


def bounds_of(hint: Any) -> Iterator[Any]:
    """The constraints of an ``Annotated``, with each interval split into its bounds."""
    for constraint in get_args(hint)[1:]:
        if isinstance(constraint, GroupedMetadata):
            yield from constraint
        else:
            yield constraint


def within(value: Any, bound: Any) -> bool:
    """Whether a value of the right type satisfies one constraint.

    Raises:
        TypeError: constraints of this kind are not supported.
    """
    match bound:
        case Ge(ge):
            return value >= ge
        case Gt(gt):
            return value > gt
        case Le(le):
            return value <= le
        case Lt(lt):
            return value < lt
        case MinLen(length):
            return len(value) >= length
    raise TypeError(f"{bound!r} is not a supported constraint.")


def written(hint: Any, value: Any = None) -> str:
    """The values that an annotation allows, in words. ``LARGEST`` is mentioned only if ``value`` exceeds it.

    >>> written(PositiveInt | None), written(Fraction), written(Literal[1, 2, 4, 8])
    ('a whole number of at least 1, or null', 'a number from 0 to 1', 'one of 1, 2, 4, 8')
    >>> written(PositiveInt, 10**30), written(list[str])
    ('a whole number from 1 to 2147483647', 'a list, each item text')
    """
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Annotated:
        return written(inner[0]) + "".join(ends(list(bounds_of(hint)), value))
    if kind in (Union, types.UnionType):
        return ", or ".join(written(option, value) for option in inner)
    if kind is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return f"a mapping, each value {written(inner[1])}"
    if isinstance(kind, type) and issubclass(kind, Collection):
        return f"a list, each item {written(inner[0])}"
    return WORDS.get(hint) or (hint.__name__ if isinstance(hint, type) else str(hint))


def ends(bounds: Collection[Any], value: Any) -> Iterator[str]:
    """The bounds of a range, in words."""
    limits = {type(bound): getattr(bound, type(bound).__name__.lower(), None) for bound in bounds}
    if limits.get(Le) == LARGEST and not (isinstance(value, (int, float)) and value > LARGEST):
        del limits[Le]
    number = {end: limit if isinstance(limit, int) else f"{limit:g}" for end, limit in limits.items() if end != MinLen}
    if Ge in limits and Le in limits:
        yield f" from {number[Ge]} to {number[Le]}"
    else:
        words = {Ge: "of at least", Gt: "above", Le: "of at most", Lt: "below"}
        yield " and".join(f" {word} {number[end]}" for end, word in words.items() if end in limits)
    if MinLen in limits:
        yield " that is not empty"


def shown(value: Any) -> str:
    """A value as shown in a message: plain values and lists of them as they are, anything else as its type."""
    plain = (bool, int, float, str, type(None))
    if not isinstance(value, plain) and not (isinstance(value, list) and all(isinstance(one, plain) for one in value)):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
