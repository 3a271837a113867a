"""The structure of the package: no upward imports, no cycles, one meaning for each class name, short modules."""

import ast
from pathlib import Path

import annotated_types

import colbertv2

PACKAGE = Path(colbertv2.__file__).parent
MODULES = {
    ".".join(("colbertv2", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
LAYERS = [  # lowest first: a module imports from its own layer and from those above it in this list
    ["errors", "lifetime"],
    ["lease"],
    ["schema"],
    ["files", "parallel", "refusals", "scratch", "team"],
    ["parts"],
    ["division"],
    ["kernels"],
    ["runtime"],
    ["wandb_runs"],
    ["loggers"],
    ["artifacts"],
    ["configuration"],
    ["data"],
    ["evaluation"],
    ["checkpoints"],
    ["modeling"],
    ["compression", "reduction"],
    ["indexing"],
    ["search"],
    ["training"],
    ["analysis"],
    ["interchange"],
    ["ablation"],
    ["reporting"],
    ["sharing"],
    ["stages"],
    ["planning"],
    ["cluster"],
    ["tracking"],
    ["reproduction"],
    ["commands"],
    ["__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
MAX_LINES = 400
UPWARD_LEFT, BETWEEN_STAGES_LEFT = 0, 0


def imports_of(file: Path) -> set[str]:
    """The modules of this package and the other packages that a file imports, also in functions and for types."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name if alias.name in MODULES else alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "colbertv2":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


IMPORTS = {name: imports_of(file) for name, file in MODULES.items()}


def room_of(module: str) -> str:
    """The package, or the single module, directly below ``colbertv2``; empty for ``colbertv2`` itself."""
    return module.partition(".")[2].partition(".")[0]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other (Tarjan), without those of one node."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            place = stack.index(node)
            found.append(sorted(stack[place:]))
            del stack[place:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return [circle for circle in found if len(circle) > 1]


def test_the_circle_finder_finds_circles():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_module_imports_itself_through_others():
    assert circles(IMPORTS) == []


def test_every_room_has_a_layer():
    assert {room_of(name) for name in MODULES} - {""} == set(LEVEL)


def test_upward_imports_and_imports_between_stages_only_get_fewer():
    """Counts of remnants of the old structure: lower a number when you remove one, never raise it."""
    upward = [
        f"{name} imports {other}"
        for name, others in IMPORTS.items()
        for other in sorted(others)
        if room_of(name) and room_of(other) and LEVEL[room_of(other)] > LEVEL[room_of(name)]
    ]
    stages = {name for name in MODULES if name.startswith("colbertv2.stages.")}
    between = [f"{name} imports {other}" for name in sorted(stages) for other in sorted(IMPORTS[name] & stages)]
    assert len(upward) <= UPWARD_LEFT, upward
    assert len(between) <= BETWEEN_STAGES_LEFT, between


def test_only_kernels_are_compiled():
    """numba and the project's own decorator are imported only in ``colbertv2.kernels``."""
    compilers = {"numba", "llvmlite", "colbertv2.kernels.compiled"}
    found = [
        f"{name} imports {compiler}"
        for name, imported in IMPORTS.items()
        if room_of(name) != "kernels"
        for compiler in sorted(compilers & imported)
    ]
    assert found == []


def test_a_class_name_means_one_thing():
    """Among our classes, and the ranges of settings (``annotated_types``), which stand beside them in signatures."""
    classes: dict[str, list[str]] = {}
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes.setdefault(node.name, []).append(name)
    assert {*vars(annotated_types)} & set(classes) == set()
    assert {name: modules for name, modules in classes.items() if len(modules) > 1} == {}


def test_the_names_of_costs_are_written_once():
    found = [name for name, file in MODULES.items() if '"B/token"' in file.read_text(encoding="utf-8")]
    assert found == ["colbertv2.evaluation.measurement"]


def test_stages_write_no_reports_of_their_own():
    """Markdown is made in ``reporting``, where the other reports are, and in rooms above the stages."""
    found = [name for name, file in MODULES.items() if "markdown_rows(" in file.read_text(encoding="utf-8")]
    assert {room_of(name) for name in found} <= {"reporting", "reproduction", "sharing", "commands"}


def test_modules_are_short():
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in MODULES.items()}
    assert {name: number for name, number in lines.items() if number > MAX_LINES} == {}


def test_files_of_artifacts_are_read_where_they_are_checked():
    """``artifact.file("run.trec")`` is used, not ``artifact.path / "run.trec"``, whose bytes are not checked."""
    found = [
        f"{name}, line {node.lineno}"
        for name, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        if isinstance(node.left, ast.Attribute) and node.left.attr == "path"
        if not (isinstance(node.left.value, ast.Name) and node.left.value.id == "self")
    ]
    assert found == []
