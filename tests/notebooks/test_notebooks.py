"""Every notebook is stored without outputs, holds no logic of its own, and runs top to bottom."""

import ast
import shutil
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder for all of them, so that they share artifacts as they do in the project."""
    directory = tmp_path_factory.mktemp("notebooks") / "notebooks"
    directory.mkdir()
    return directory


def code_of(notebook: nbformat.NotebookNode) -> str:
    lines = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code").splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_stored_clean_and_only_calls_the_library(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    defined = [
        node for node in ast.walk(ast.parse(code_of(notebook))) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    assert not defined
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_top_to_bottom(file: Path, place: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    shutil.copyfile(file, place / file.name)
    client = NotebookClient(notebook, timeout=600, km=manager, resources={"metadata": {"path": str(place)}})
    client.execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any(output.output_type in ("execute_result", "display_data") for output in outputs)
