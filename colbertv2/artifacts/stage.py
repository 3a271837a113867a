"""Declare a plain function as a stage: it gets a name and a version, and its signature must not have defaults.

A stage fills one directory. Its signature is its schema: every value that matters is in the configuration, so no
parameter may have a default. Where and how a stage runs (``runtime``) is never part of the identity of its artifact.
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

StageFunction = TypeVar("StageFunction", bound=Callable[..., None])

RESERVED = ("out", "runtime")
PACKAGE = "colbertv2.stages."  # the stages below it are known by their names alone


@dataclass(frozen=True)
class Stage:
    """A stage function with its declaration.

    Its other functions, such as ``check``, are those that :func:`stage` was given. A stage function called ``run``
    need not name them: they are the functions with these names in its module.

    Args:
        name: the first part of its addresses: the name of the function, or, if that is ``run``, the last part of the
            module's name, ``index`` for ``colbertv2.stages.index.run``.
        version: part of the identity; to be raised by hand when the code makes something else from the same arguments.
        resumable: the files of an interrupted run are kept, and the next run finds them in ``out``.
        divided: its work is divided into parts (:mod:`colbertv2.division`): several processes and machines can do
            them, and those of an interrupted run are kept.
        prepares: something is learned in one process before the parts, with ``Runtime.once``.
        provides: what its artifacts hold that other stages read, beyond a ranking: ``teacher_scores`` means
            ``scored.jsonl`` of the stage ``score``; ``centroids``, what ``Clusters.load`` reads; ``imported_ranking``,
            a ranking whose system may have kept fewer documents than ``depth``.
        function: the stage function itself.
        given: the functions that :func:`stage` was given, by name.
        neutral: for arguments that were added later, the value that changes nothing, as in
            :class:`~colbertv2.artifacts.node.Component`; it is no part of the identity, so that older addresses stay.
        spans_nodes: on a cluster, its processes run on several machines together, as those of a training do.
    """

    name: str
    version: int
    resumable: bool
    divided: bool
    prepares: bool
    provides: tuple[str, ...]
    function: Callable[..., None]
    given: Mapping[str, Callable[..., Any]]
    neutral: Mapping[str, Any]
    spans_nodes: bool

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters that the configuration must provide: all but ``out`` and ``runtime``."""
        parameters = inspect.signature(self.function).parameters
        return {name: parameter for name, parameter in parameters.items() if name not in RESERVED}

    @property
    def outside(self) -> str | None:
        """The dotted name of a function outside this package, which is part of the identity; ``None`` for our own.

        Two stages of one module, or of modules with equal last names, must not share artifacts.
        """
        name = f"{self.function.__module__}.{self.function.__qualname__}"
        return None if name.startswith(PACKAGE) else name

    @property
    def check(self) -> Callable[..., Iterable[str]] | None:
        """A function that compares values across the graph before any work; ``None`` if there is none.

        It takes the stage's arguments by name (without ``out`` and ``runtime``; components as instances, parents as
        :class:`~colbertv2.artifacts.node.Node`) and yields one sentence per problem.
        """
        return self.beside("check")

    @property
    def lacks(self) -> Callable[..., Iterable[str]] | None:
        """A function that says what this machine lacks to run the stage; ``None`` if there is none.

        It takes the stage's arguments as ``check`` does and yields one sentence per lack, such as a package that is not
        installed. It is called before any work, and only if the stage will run: a finished artifact can be read on any
        machine.
        """
        return self.beside("lacks")

    @property
    def measures(self) -> Callable[[Mapping[str, Any]], Sequence[str]] | None:
        """A function that names the measures of a stage that evaluates a ranking per query; ``None`` for other stages.

        It takes the stage's arguments by name, as they are configured, and returns the names of the measures: the
        columns of the ``per_query.csv`` that the stage writes (:mod:`colbertv2.evaluation.measurement`). So the
        measures are known before any work.
        """
        return self.beside("measures")

    @property
    def unneeded(self) -> Callable[..., Iterable[str]] | None:
        """A function that names the parents that the chosen components do not need; ``None`` if there is none.

        It takes the stage's arguments by name, components as their classes, and yields names of parents. These are not
        built and are not part of the identity; the stage receives ``None`` for each. In a mapping of parents, named
        ``scored.second``, they are left out.
        """
        return self.beside("unneeded")

    @property
    def replaced(self) -> Callable[..., str | None] | None:
        """A function that names the parent that stands in the place of a node; ``None`` if there is none.

        It takes the stage's arguments as ``unneeded`` does. If it returns the name of a parent, as for a reduction that
        keeps everything, the stage is not run, and whatever reads the node reads that parent.
        """
        return self.beside("replaced")

    def beside(self, name: str) -> Callable[..., Any] | None:
        """The function that belongs to the stage under ``name``; ``None`` if there is none."""
        if name in self.given or self.function.__name__ != "run":
            return self.given.get(name)
        return getattr(sys.modules[self.function.__module__], name, None)


def stage(
    version: int,
    resumable: bool = False,
    *,
    divided: bool = False,
    prepares: bool = False,
    provides: Sequence[str] = (),
    check: Callable[..., Iterable[str]] | None = None,
    lacks: Callable[..., Iterable[str]] | None = None,
    measures: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
    unneeded: Callable[..., Iterable[str]] | None = None,
    replaced: Callable[..., str | None] | None = None,
    neutral: Mapping[str, Any] | None = None,
    spans_nodes: bool = False,
) -> Callable[[StageFunction], StageFunction]:
    """A decorator that declares a function as a stage; it can still be called as an ordinary function.

    Args:
        version: see :class:`Stage`.
        resumable: see :class:`Stage`.
        divided: see :class:`Stage`.
        prepares: see :class:`Stage`.
        provides: see :class:`Stage`.
        check: see :class:`Stage`.
        lacks: see :class:`Stage`.
        measures: see :class:`Stage`.
        unneeded: see :class:`Stage`.
        replaced: see :class:`Stage`.
        neutral: see :class:`Stage`.
        spans_nodes: see :class:`Stage`.

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
    functions = {"check": check, "lacks": lacks, "measures": measures, "unneeded": unneeded, "replaced": replaced}
    given = {name: function for name, function in functions.items() if function is not None}

    def declare(function: StageFunction) -> StageFunction:
        where = f"stage {function.__module__}.{function.__qualname__}"
        parameters = inspect.signature(function).parameters
        for parameter in parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise TypeError(f"{where}: parameter {parameter} can't be passed by name; list each parameter by name.")
            if parameter.default is not parameter.empty:
                raise TypeError(f"{where}: {parameter.name!r} has a default; its value belongs in the configuration.")
        for name in RESERVED:
            if name not in parameters or parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                raise TypeError(f"{where}: needs the keyword-only parameter {name!r}.")
        own = function.__name__
        name = function.__module__.rpartition(".")[2] if own == "run" else own
        declared = Stage(
            name=name,
            version=version,
            resumable=resumable,
            divided=divided,
            prepares=prepares,
            provides=tuple(provides),
            function=function,
            given=given,
            neutral=neutral or {},
            spans_nodes=spans_nodes,
        )
        setattr(function, "stage", declared)  # noqa: B010
        return function

    return declare


def stage_of(function: object) -> Stage | None:
    """The :class:`Stage` of a function that was declared with :func:`stage`; ``None`` for anything else."""
    declared = getattr(function, "stage", None)
    return declared if isinstance(declared, Stage) else None
