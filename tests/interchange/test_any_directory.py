"""Whatever an external index or checkpoint contains, reading gives a result or an ``InputError``."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import tiny_bert

from colbertv2.checkpoints.layouts import read_checkpoint
from colbertv2.checkpoints.tokenization import Tokenization
from colbertv2.errors import InputError
from colbertv2.files import read_array
from colbertv2.indexing.storage import open_array, read_rows
from colbertv2.interchange.conversion import convert_checkpoint, convert_index
from colbertv2.interchange.fast_plaid_index import load_array
from colbertv2.modeling import initial
from colbertv2.modeling.backbone import Backbone

DATA = Path(__file__).parent / "data"
NUMBERS = [0, 1, -1, 2, 3, 60, 2**31, 2**40, 2**63, 10**30, 10**400, 0.5, float("nan"), float("inf"), True, None, "2"]
VALUES = st.recursive(
    st.sampled_from(NUMBERS), lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values)
)
DTYPES = ["<f2", "<f4", "<f8", "<i8", "|u1", "<c16", "|O", "|b1", "<U3", "|S0", "<M8[s]", "<f99", "[('a', '<f4')]"]


def npy(descr: str, shape: str, content: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A ``.npy`` file with this header; ``descr`` and ``shape`` are Python source."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + content


SHAPES = ["()", "(2,)", "(2, 2)", "(0, 3)", "(-1,)", "(9999999999,)", "(2**70,)", f"({10**30},)", f"({2**40}, {2**40})"]
SHAPES += ["('a',)", "(2.5,)", "None", "2", "(", "(" * 300, "(1,) * 9", "(True,)", "[2]", "(2,), 'x': 1"]
ARRAYS = (
    st.builds(
        npy, st.sampled_from(DTYPES).map(repr) | st.sampled_from(["1", "None", "["]), st.sampled_from(SHAPES),
        st.binary(max_size=40), st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"]),
    )
    | st.binary(max_size=80)
    | st.binary(max_size=40).map(lambda content: b"\x93NUMPY" + content)
    | st.binary(max_size=40).map(lambda content: b"PK\x03\x04" + content)
)  # fmt: skip


def archive() -> bytes:
    """A ``.npz`` file."""
    file = io.BytesIO()
    np.savez(file, np.zeros(2))
    return file.getvalue()


@settings(max_examples=300)
@given(content=ARRAYS)
@example(archive())
@example(b"")
@example(npy("'|S0'", "(-1,)"))  # numpy divides by zero if it maps this, which no except clause sees
@example(npy("'|O'", "(1,)", b"cos\nsystem\n(S'true'\ntR."))
def test_any_array_is_read_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("arrays") / "a.npy"
    file.write_bytes(content)
    readers = [
        lambda: read_array(file),
        lambda: load_array(file, 1),
        lambda: load_array(file, 1, mapped=True),
        lambda: open_array(file, "float32", (2,)),
        lambda: open_array(file, None, (0, 3)),
        lambda: read_rows(file, 0, 2),
    ]
    for read in readers:
        try:
            assert isinstance(read(), np.ndarray)
        except InputError as error:
            assert "a.npy" in str(error)


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


TENSORS = [
    torch.zeros(3), torch.zeros(2, 16), torch.full((60,), float("nan")), torch.zeros(0), torch.tensor(0.5),
    torch.zeros(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3).to_sparse(),
    torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8), torch.nn.Parameter(torch.zeros(3)),
    torch.zeros(3, dtype=torch.bool), torch.arange(3), torch.full((3,), -1), torch.full((3,), 2**62),
    torch.zeros(3, device="meta"), (torch.zeros(3), torch.zeros(4)), (torch.arange(3), torch.full((9,), 2**62)),
    (torch.arange(3), torch.full((9,), -5)),
    (torch.zeros(3), torch.full((9,), float("nan"))), [], {}, "text", None, 3, {"a": torch.zeros(2)},
]  # fmt: skip


@st.composite
def damages(draw, directory: Path) -> tuple[str, bytes | None]:
    """A file of the directory and its new content, or None to remove it."""
    file = draw(st.sampled_from(sorted(path for path in directory.rglob("*") if path.is_file())))
    name, whole = file.relative_to(directory).as_posix(), file.read_bytes()
    kind = draw(st.sampled_from(["gone", "cut", "flipped", "bytes", "its own"]))
    if kind == "gone":
        return name, None
    if kind == "cut":
        return name, whole[: draw(st.integers(0, len(whole)))]
    if kind == "flipped":
        place = draw(st.integers(0, min(len(whole), 400) - 1))
        return name, whole[:place] + bytes([draw(st.integers(0, 255))]) + whole[place + 1 :]
    if kind == "bytes":
        return name, draw(st.binary(max_size=40) | st.just(b"[" * 100_000) | st.just(b"\xff\xfe{\x00}\x00"))
    if file.suffix == ".npy":
        return name, draw(ARRAYS)
    if file.suffix == ".pt":
        return name, saved(draw(st.sampled_from(TENSORS)))
    if file.suffix == ".safetensors":
        return name, draw(HEADERS)
    try:
        value = json.loads(whole)
    except ValueError:
        return name, draw(st.binary(max_size=40))
    if isinstance(value, dict) and value and draw(st.booleans()):
        inner = draw(st.sampled_from([value, *(one for one in value.values() if isinstance(one, dict) and one)]))
        inner[draw(st.sampled_from(sorted(inner)))] = draw(VALUES)
    elif isinstance(value, list) and value:
        value[draw(st.integers(0, len(value) - 1))] = draw(VALUES)
    else:
        value = draw(VALUES)
    return name, json.dumps(value).encode()


def changed(source: Path, target: Path, damage: tuple[str, bytes | None]) -> Path:
    """A copy of ``source`` with one file replaced or removed."""
    shutil.copytree(source, target)
    name, content = damage
    (target / name).unlink()
    if content is not None:
        (target / name).write_bytes(content)
    return target


@pytest.mark.parametrize("layout", ["colbert-ai", "fast-plaid"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_index_is_converted_or_refused(tmp_path_factory, layout, data):
    folder = tmp_path_factory.mktemp("indexes")
    damage = data.draw(damages(DATA / layout), label="damage")
    source = changed(DATA / layout, folder / "source", damage)
    try:
        convert_index(source, folder / "ours", "colbertv2", None, None)
        assert (folder / "ours" / "index.json").is_file()
    except InputError:
        assert not (folder / "ours").exists()


def safetensors(header: Any, content: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


TENSOR = {"dtype": "F32", "shape": [16, 32], "data_offsets": [0, 2048]}
HEADERS = st.binary(max_size=30) | st.builds(
    safetensors,
    st.sampled_from(
        [
            b"", b"[" * 100_000, b"{", b"\xff\xfe", b"null", b"[]", {}, {"linear.weight": None},
            {"linear.weight": TENSOR},
            {"linear.weight": {**TENSOR, "shape": [2**40, 2**40]}}, {"linear.weight": {**TENSOR, "shape": [-1, 2]}},
            {"linear.weight": {**TENSOR, "dtype": "F99"}}, {"linear.weight": {**TENSOR, "data_offsets": [8, 2**62]}},
            {"linear.weight": {**TENSOR, "data_offsets": [2048, 0]}}, {"__metadata__": {"a": 1}}, {"\ud800": TENSOR},
        ]
    ),
    st.sampled_from([b"", bytes(2048), b"\xff" * 2048]),
    st.sampled_from([None, None, 0, 7, 2**40, 2**63]),
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A tiny checkpoint in each layout."""
    folder = tmp_path_factory.mktemp("checkpoints")
    tokenization = Tokenization(12, 12, "[unused0]", "[unused1]", True, False, True)
    initial.colbert(Backbone(str(tiny_bert()), None), tokenization, 16, "orthogonal", [], 0).save(folder / "colbertv2")
    for layout in ("official", "pylate"):
        convert_checkpoint(str(folder / "colbertv2"), folder / layout, layout)
    return {layout: folder / layout for layout in ("colbertv2", "official", "pylate")}


@pytest.mark.parametrize("layout", ["colbertv2", "official", "pylate"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_weights_are_read_or_refused(tmp_path_factory, checkpoints, layout, data):
    weights = sorted(path.relative_to(checkpoints[layout]) for path in checkpoints[layout].rglob("*.safetensors"))
    name = data.draw(st.sampled_from(weights)).as_posix()
    damage = name, data.draw(HEADERS, label="content")
    source = changed(checkpoints[layout], tmp_path_factory.mktemp("weights") / "source", damage)
    with contextlib.suppress(InputError):
        read_checkpoint(source)
