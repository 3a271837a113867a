"""Everything that can be known to be wrong before the first second of work, all at once.

The Python signature is the schema: arguments are bound against the stages' signatures, components are instantiated,
and stages with a ``check`` function compare values across the graph.
"""

import difflib
import inspect
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.utils import get_object

from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Component, Node, Unreadable, leaves
from colbertv2.errors import InputError


def validate(target: Node) -> None:
    """Check a node and everything upstream of it, each distinct node once.

    Raises:
        InputError: lists every problem with the place in the configuration it belongs to.
    """
    problems: dict[str, None] = {}  # a component that several nodes share is reported once
    sound: set[int] = set()
    for node in target.lineage():
        found = list(_node_problems(node))
        if not found and all(id(parent) in sound for parent in node.parents.values()):
            found = [f"{node.key}: {problem}" for problem in _cross_checks(node)]
            if not found:
                sound.add(id(node))
        problems.update(dict.fromkeys(found))
    if problems:
        count = "One problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise InputError(f"{count} in the configuration:\n" + "\n".join(f"  - {problem}" for problem in problems))


def component_problems(value: Any) -> Iterator[str]:
    """What is wrong with the unreadable values and components inside an argument, innermost first."""
    for _, leaf in leaves(value):
        if isinstance(leaf, Unreadable):
            yield f"{leaf.key}: {leaf.problem}"
        elif isinstance(leaf, Component):
            inner = list(component_problems(leaf.values))
            yield from inner
            where = f"{leaf.key} ({leaf.target.rpartition('.')[2]})"
            if misfits := list(_component_misfits(leaf)):
                yield from (f"{where}: {misfit}" for misfit in misfits)
            elif not inner:
                try:
                    _ = leaf.identity
                except InputError as error:
                    yield f"{where}: {error}"


def _node_problems(node: Node) -> Iterator[str]:
    where = f"{node.key} (stage {node.stage.name})"
    parameters = node.stage.parameters
    for misfit in _misfits(parameters, node.values, required=parameters):
        yield f"{where}: {misfit}"
    faulty = False
    for problem in component_problems(node.values):
        faulty = True
        yield problem
    if not faulty:
        hints = _hints(node.stage.function)
        for name, value in node.bound.items():
            if name in hints and not _fits(value, hints[name]):
                yield f"{where}: {name!r} is {_shown(value)}; expected {_written(hints[name])}."


def _component_misfits(component: Component) -> Iterator[str]:
    factory = get_object(component.target)
    if not callable(factory):
        yield f"{component.target} is no class or function."
        return
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some compiled classes tell no signature; their constructor will judge
        return
    given = {name: value for name, value in component.values.items() if not name.startswith("_")}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        parameters = {**parameters, **dict.fromkeys(given)}
    incomplete = component.values.get("_partial_") or "_args_" in component.values
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [
        name
        for name, parameter in parameters.items()
        if parameter is not None and parameter.default is parameter.empty and parameter.kind not in variadic
    ]
    yield from _misfits(parameters, given, required=() if incomplete else required)
    hints = _hints(factory.__init__ if isinstance(factory, type) else factory)
    for name, value in given.items():
        if name in hints and not _contains_component(value) and not _fits(value, hints[name]):
            yield f"{name!r} is {_shown(value)}; expected {_written(hints[name])}."


def _contains_component(value: Any) -> bool:
    return any(isinstance(leaf, Component) for _, leaf in leaves(value))


def _misfits(parameters: Collection[str], given: Mapping[str, Any], required: Collection[str]) -> Iterator[str]:
    for name in given:
        if name not in parameters:
            yield f"unexpected argument {name!r}{suggestion(name, parameters)}"
    for name in required:
        if name not in given:
            yield f"missing argument {name!r}."


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name.

    >>> suggestion("bit", ["bits", "dim"])
    "; did you mean 'bits'?"
    >>> suggestion("colour", ["bits", "dim"])
    '; known: bits, dim.'
    """
    if close := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}." if known else "; it takes none."


def _cross_checks(node: Node) -> Iterator[str]:
    if check := node.stage.check:
        try:
            yield from check(**node.bound)
        except InputError as error:
            yield str(error)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except NameError:  # an annotation that only type checkers can import judges nothing
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether ``value`` may stand where the signature says ``hint``; what cannot be judged fits."""
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is Artifact:
        return isinstance(value, Node)
    if hint is Path:
        return isinstance(value, (str, Path))
    if hint in (bool, int, float, str):
        return type(value) is hint or (hint is float and type(value) is int)
    try:
        return isinstance(value, get_origin(hint) or hint)
    except TypeError:  # Any, type variables, protocols that cannot be checked at run time
        return True


def _written(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _shown(value: Any) -> str:
    if isinstance(value, Node):
        return f"the node {value.key}"
    return repr(value) if isinstance(value, (bool, int, float, str, type(None))) else f"a {type(value).__name__}"
