"""Find all problems of a configuration before any work starts, and report them at once.

The Python signature is the schema (:mod:`colbertv2.schema`): arguments are compared with the signatures of stages and
components, the components are instantiated, and the ``check`` functions of stages compare values across the graph.
"""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object

from colbertv2 import schema
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.node import Component, Node, Unreadable, leaves
from colbertv2.errors import InputError


def validate(target: Node, known: Iterable[str] = ()) -> None:
    """Check a node and everything upstream of it, each distinct node once.

    Args:
        target: the node to check.
        known: problems that were found elsewhere, which are reported first.

    Raises:
        InputError: there are problems; the message lists them all, each with its place in the configuration.
    """
    problems: dict[str, None] = dict.fromkeys(known)  # a component that several nodes share is reported once
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
    """Yield a sentence for each problem of the unreadable values and components in an argument, innermost first."""
    for _, leaf in leaves(value):
        if isinstance(leaf, Unreadable):
            yield f"{leaf.key}: {leaf.problem}"
        elif isinstance(leaf, Component):
            where = f"{leaf.key} ({leaf.target.rpartition('.')[2]})"
            if problems := list(_component_problems(leaf, where)):
                yield from problems
            else:
                try:
                    _ = leaf.identity
                except InputError as error:
                    yield f"{where}: {error}"
                except InstantiationException as error:
                    cause = error.__cause__ or error
                    yield f"{where}: cannot be constructed, {type(cause).__name__}: {' '.join(str(cause).split())}"


def _component_problems(component: Component, where: str) -> Iterator[str]:
    factory = get_object(component.target)
    if not callable(factory):
        yield f"{where}: {component.target} is not a class or function."
        return
    given = {name: value for name, value in component.values.items() if not name.startswith("_")}
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # some compiled classes have no signature; their constructor will check
        yield from component_problems(component.values)
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        parameters = {**parameters, **dict.fromkeys(given)}
    incomplete = component.values.get("_partial_") or "_args_" in component.values
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [
        name
        for name, parameter in parameters.items()
        if parameter is not None and parameter.default is parameter.empty and parameter.kind not in variadic
    ]
    yield from _argument_problems(factory, where, given, parameters, () if incomplete else required)


def _node_problems(node: Node) -> Iterator[str]:
    where, parameters = f"{node.key} (stage {node.stage.name})", node.stage.parameters
    yield from _argument_problems(node.stage.function, where, node.values, parameters, parameters)


def _argument_problems(
    function: Callable[..., Any],
    where: str,
    given: Mapping[str, Any],
    parameters: Collection[str],
    required: Collection[str],
) -> Iterator[str]:
    """The problems of the arguments of a stage or component: first the names, then each value.

    If a component is of the wrong class, only that is reported, not problems of its own arguments.
    """
    for misfit in _misfits(parameters, given, required):
        yield f"{where}: {misfit}"
    try:
        hints = schema.hints_of(function)
    except TypeError as error:
        yield f"{where}: {error}"
        return
    for name, value in given.items():
        if name in hints and _is_of_wrong_kind(value, hints[name]):
            problems = []
        elif problems := list(component_problems(value)):
            yield from problems
        if not problems:
            for misfit in schema.misfits(hints, {name: value}, is_a=_is_a, show=_shown):
                yield f"{where}: {misfit}"


def _is_of_wrong_kind(value: Any, hint: Any) -> bool:
    kind = isinstance(value, Component) and get_object(value.target)
    return isinstance(kind, type) and not schema.fits(value, hint, is_a=lambda _, wanted: issubclass(kind, wanted))


def _misfits(parameters: Collection[str], given: Mapping[str, Any], required: Collection[str]) -> Iterator[str]:
    for name in given:
        if name not in parameters:
            yield f"unexpected argument {name!r}{suggestion(name, parameters)}"
    for name in required:
        if name not in given:
            yield f"missing argument {name!r}."


def suggestion(name: str, known: Collection[str]) -> str:
    """The end of a message about an unknown name: the most similar known name, or else all of them.

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


def _is_a(value: Any, kind: type) -> bool:
    """Whether a value of the configuration will be an instance of ``kind`` when the stage runs."""
    if kind is Artifact:
        return isinstance(value, Node)
    if not isinstance(value, Component):
        return isinstance(value, kind)
    factory = get_object(value.target)
    try:
        return issubclass(factory, kind)
    except TypeError:  # a function, or a protocol that only instances can be checked for; it has been constructed
        return isinstance(value.instance, kind)


def _shown(value: Any) -> str:
    if isinstance(value, Node):
        return f"the node {value.key}"
    if isinstance(value, Component):
        return f"a {value.target.rpartition('.')[2]}"
    return schema.shown(value)
