"""What makes a plain function a stage: a name, a version, and a signature without defaults.

A stage fills one directory. Its signature is its schema: every value that matters stands in the configuration, so no
parameter may have a default; where and how it runs (``runtime``) never takes part in the identity of what it makes.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

StageFunction = TypeVar("StageFunction", bound=Callable[..., None])

RESERVED = ("out", "runtime")


@dataclass(frozen=True)
class Stage:
    """A stage function with what the decorator says about it.

    Args:
        name: last part of the module's name, ``index`` for ``colbertv2.stages.index``.
        version: raised by hand when the code makes something else from the same arguments; part of the identity.
        resumable: an interrupted run leaves its files for the next one, which finds them in ``out``.
        function: the stage function itself.
    """

    name: str
    version: int
    resumable: bool
    function: Callable[..., None]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that the configuration has to give: all but ``out`` and ``runtime``."""
        parameters = inspect.signature(self.function).parameters
        return {name: parameter for name, parameter in parameters.items() if name not in RESERVED}

    @property
    def check(self) -> Callable[..., Iterable[str]] | None:
        """The module's function ``check``, if it has one: cross checks before the first second of work.

        It takes the stage's arguments by name (without ``out`` and ``runtime``; components as instances, parents as
        :class:`~colbertv2.artifacts.node.Node`) and yields one sentence per problem.
        """
        return self.beside("check")

    @property
    def measures(self) -> Callable[[Mapping[str, Any]], Sequence[str]] | None:
        """The module's function ``measures``, if it has one: then the stage measures a ranking query by query.

        It takes the stage's arguments by name and tells the measures: the columns of the ``per_query.csv`` that the
        stage writes (:mod:`colbertv2.evaluation.measurement`). What is configured stands there as it is written, so
        that it can be asked before any work.
        """
        return self.beside("measures")

    def beside(self, name: str) -> Callable[..., Any] | None:
        """A function of the module that the stage is in; ``None`` where it has none of that name."""
        return getattr(sys.modules[self.function.__module__], name, None)

    @property
    def unneeded(self) -> Callable[..., Iterable[str]] | None:
        """The module's function ``unneeded``, if it has one: parents that a choice of components makes superfluous.

        It takes the stage's arguments by name, components as their classes, and yields names of parents. These are not
        built and are no part of the identity; the stage gets ``None`` for each.
        """
        return getattr(sys.modules[self.function.__module__], "unneeded", None)


def stage(version: int, resumable: bool = False) -> Callable[[StageFunction], StageFunction]:
    """Declare a function a stage; the function stays an ordinary function.

    Raises:
        TypeError: a parameter has a default or is variadic, or ``out`` or ``runtime`` is not keyword-only.

    >>> from pathlib import Path
    >>> from colbertv2.runtime import Runtime
    >>> @stage(version=1)
    ... def run(text: str, *, out: Path, runtime: Runtime) -> None:
    ...     (out / "text.txt").write_text(text)
    >>> stage_of(run).version
    1
    """

    def declare(function: StageFunction) -> StageFunction:
        where = f"stage {function.__module__}.{function.__qualname__}"
        parameters = inspect.signature(function).parameters
        for parameter in parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(f"{where}: parameter {parameter} cannot be given by name; name each one.")
            if parameter.default is not parameter.empty:
                raise TypeError(f"{where}: {parameter.name!r} has a default; its value belongs in the configuration.")
        for name in RESERVED:
            if name not in parameters or parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                raise TypeError(f"{where}: needs the keyword-only parameter {name!r}.")
        name = function.__module__.rpartition(".")[2]
        setattr(function, "stage", Stage(name, version, resumable, function))  # noqa: B010
        return function

    return declare


def stage_of(function: object) -> Stage | None:
    """What :func:`stage` declared about a function, or ``None`` for anything else."""
    declared = getattr(function, "stage", None)
    return declared if isinstance(declared, Stage) else None
