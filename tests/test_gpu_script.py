"""The script that compares a GPU with the CPU, run with the CPU in the place of the GPU."""

from support import shrunk, tiny_folder

from experiments.gpu.__main__ import Row, main, report


def test_the_cpu_agrees_with_itself_and_every_rate_is_measured(tmp_path, capsys):
    out, work = tmp_path / "gpu.md", tmp_path / "work"
    overrides = [one for one in shrunk(tiny_folder(tmp_path / "folder"), work) if not one.startswith("runtime.root")]
    main(["--device", "cpu", "--tiny", "--work", str(work), "--out", str(out), *overrides])
    text = out.read_text()
    assert "agree." in text and "**no**" not in text
    stages = {line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.endswith("| yes |")}
    assert {"round1", "teacher", "round2.checkpoint", "embeddings", "index.centroids", "index", "ranking"} <= stages
    assert {"round2.scored"} <= stages
    for rate in ("matrix products", "encoding, sdpa attention", "training", "k-means with faiss", "building an index",
                 "exhaustive search", "cascade, ndocs 512"):  # fmt: skip
        assert f"| {rate} |" in text
    assert "(allowed" in capsys.readouterr().out


def test_what_differs_is_said_first():
    text = report([Row("embeddings", "values", 0.5, 0.1), Row("index", "codes", 0.0, 0.1)], [], "a GPU", 3)
    assert "1 of 2 differ more than allowed." in text and "| embeddings | values | 0.5 | 0.1 | **no** |" in text
