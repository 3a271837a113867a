"""Draws the diagrams of the site and the README: `python docs/images/draw.py`, from the root of the project.

Each is 480 units wide, so that its words can be read on a telephone, and takes its colours from variables, which follow
the reader's light or dark setting. What a knob moves is computed from the pipeline; the rest is drawn by hand.
"""

import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
WIDTH = 480
STYLE = """
  .drawing { --ink: #1b1f24; --soft: #57606a; --box: #eef3f8; --line: #7a8794; --good: #0072b2; --warm: #d55e00; }
  @media (prefers-color-scheme: dark) {
    .drawing { --ink: #e6edf3; --soft: #a5b0bb; --box: #24303c; --line: #8b98a5; --good: #56b4e9; --warm: #e69f00; }
  }
  .drawing text { font: 14px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }
  .drawing text.strong { font-weight: 600; }
  .drawing text.small { font-size: 12.5px; fill: var(--soft); }
  .drawing text.code { font: 12.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
  .drawing .box { fill: var(--box); stroke: var(--line); stroke-width: 1; }
  .drawing .line { fill: none; stroke: var(--line); stroke-width: 1.6; }
  .drawing .head { fill: var(--line); }
  .drawing .good { fill: var(--good); }
  .drawing .warm { fill: none; stroke: var(--warm); stroke-width: 2.6; }
  .drawing .frame { fill: none; stroke: var(--good); stroke-width: 1.6; stroke-dasharray: 5 4; }
"""


class Drawing:
    """Shapes in order, and the SVG that they make.

    Args:
        title: a text for readers who cannot see the drawing.
        height: in the unit in which the drawing is 480 wide.
    """

    def __init__(self, title: str, height: int) -> None:
        self.title, self.height, self.shapes = title, height, []

    def add(self, name: str, content: str | None = None, **attributes: object) -> None:
        """An element; ``kind`` is its class."""
        written = " ".join(
            f'{"class" if key == "kind" else key.replace("_", "-")}="{value}"' for key, value in attributes.items()
        )
        self.shapes.append(f"<{name} {written}/>" if content is None else f"<{name} {written}>{content}</{name}>")

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start", turn: float = 0) -> None:
        turned = {"transform": f"rotate({turn} {x} {y})"} if turn else {}
        self.add("text", escape(words), x=x, y=y, kind=kind, text_anchor=anchor, **turned)

    def box(self, x: float, y: float, width: float, height: float, *lines: str, kind: str = "box") -> None:
        """A rounded box; its first line is strong, the others are small."""
        self.add("rect", x=x, y=y, width=width, height=height, rx=7, kind=kind)
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for place, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * place, line, "small" if place else "strong", "middle")

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through points; the last one has a head."""
        self.add("polyline", points=" ".join(f"{x},{y}" for x, y in points), kind="line")
        (x0, y0), (x, y) = points[-2:]
        dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
        back_x, back_y, side_x, side_y = x - 8 * dx, y - 8 * dy, 4.5 * dy, 4.5 * dx
        corners = [(x + dx, y + dy), (back_x + side_x, back_y + side_y), (back_x - side_x, back_y - side_y)]
        self.add("polygon", points=" ".join(f"{a},{b}" for a, b in corners), kind="head")

    def svg(self) -> str:
        lines = "\n".join(f"  {shape}" for shape in self.shapes)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" viewBox="0 0 {WIDTH} {self.height}" role="img">\n'
            f"  <title>{escape(self.title)}</title>\n  <style>{STYLE}  </style>\n{lines}\n</svg>\n"
        )


def late_interaction() -> Drawing:
    """Every query token finds its most similar document token; the score is the sum."""
    query, document = ["why", "is", "the", "sky", "blue"], ["air", "scatters", "short", "blue", "light", "most"]
    shades = [
        [0.2, 0.5, 0.1, 0.2, 0.2, 0.3],
        [0.1, 0.3, 0.1, 0.2, 0.2, 0.4],
        [0.3, 0.1, 0.2, 0.1, 0.2, 0.3],
        [0.8, 0.3, 0.1, 0.5, 0.5, 0.1],
        [0.2, 0.2, 0.3, 1.0, 0.5, 0.1],
    ]
    out = Drawing("Late interaction: every token of the query takes its most similar token of the document", 344)
    left, top, size = 92, 104, 40
    out.text(left + 3 * size, 18, "document: one vector per token", "strong", "middle")
    out.text(16, top - 14, "query", "strong")
    for column, word in enumerate(document):
        out.text(left + column * size + size / 2 + 4, top - 10, word, "", "start", -45)
    for row, word in enumerate(query):
        y = top + row * size
        out.text(left - 12, y + 25, word, "", "end")
        best = max(range(len(document)), key=lambda column: shades[row][column])
        for column, shade in enumerate(shades[row]):
            place = {"x": left + column * size + 2, "y": y + 2, "width": size - 4, "height": size - 4, "rx": 4}
            out.add("rect", **place, kind="good", opacity=round(0.08 + 0.8 * shade, 2))
            if column == best:
                out.add("rect", **place, kind="warm")
        out.arrow((left + 6 * size + 8, y + 20), (left + 6 * size + 40, y + 20))
        out.text(left + 6 * size + 50, y + 25, "best")
    end = top + len(query) * size
    out.add("line", x1=left + 6 * size + 44, x2=WIDTH - 10, y1=end + 6, y2=end + 6, kind="line")
    out.text(WIDTH - 10, end + 28, "score = their sum", "strong", "end")
    out.text(16, end + 28, "stronger colour: more similar", "small")
    return out


def loop() -> Drawing:
    """The rounds of training, and the index that is searched."""
    out = Drawing("The loop: train, index, mine, score, denoise, distil, and index again", 640)
    x, width = 60, 300
    middle = x + width / 2
    steps = [
        (10, "Documents, queries, judgements", "group collection"),
        (84, "Round 1: contrastive training", "negatives of the batch and from BM25"),
        (176, "Encode and compress", "one vector per token, a few bits each"),
        (250, "Mine", "retrieve for the training queries"),
        (324, "Score", "a cross-encoder reads query and passage"),
        (398, "Denoise", "candidates scored too high are dropped"),
        (472, "Distil", "learn the cross-encoder's scores"),
        (572, "Index, search, evaluate", "table, intervals, tests"),
    ]
    for y, *lines in steps:
        out.box(x, y, width, 50, *lines)
    for (y, *_), (below, *_) in pairwise(steps):
        out.arrow((middle, y + 50), (middle, below - 1))
    out.add("rect", x=x - 20, y=158, width=width + 108, height=382, rx=10, kind="frame")
    out.arrow((x + width, 497), (x + width + 40, 497), (x + width + 40, 201), (x + width + 1, 201))
    out.text(x + width + 62, 356, "one round; repeat", "small", "middle", -90)
    return out


def codec() -> Drawing:
    """A vector as the number of a centroid and a few bits of what is left in each dimension."""
    out = Drawing(
        "The residual codec: the nearest centroid's number, and a few bits per dimension of the residual", 418
    )
    vector = [0.5, -0.3, 0.8, -0.6, 0.2, 0.7, -0.2, -0.8]
    centroid = [0.4, -0.5, 0.6, -0.5, 0.4, 0.5, 0.0, -0.7]
    residual = [a - b for a, b in zip(vector, centroid, strict=True)]
    rows = [("vector", vector), ("nearest centroid", centroid), ("residual", residual)]
    for place, (name, values) in enumerate(rows):
        y = 48 + 92 * place
        out.text(12, y + 5, name, "strong")
        out.add("line", x1=150, x2=150 + 8 * 28, y1=y, y2=y, kind="line")
        for column, value in enumerate(values):
            height = abs(value) * 40
            out.add(
                "rect",
                x=153 + 28 * column,
                y=y - height if value > 0 else y,
                width=22,
                height=max(height, 1),
                kind="good",
            )
    out.text(388, 97, "−", "strong", "middle")
    out.text(388, 189, "=", "strong", "middle")
    out.text(12, 163, "kept: its number", "small")
    out.text(12, 255, "kept: its bucket", "small")
    out.text(12, 318, "2 bits each", "strong")
    for column, bits in enumerate(("10", "11", "11", "01", "00", "11", "00", "01")):
        out.add("rect", x=151 + 28 * column, y=300, width=26, height=26, rx=4, kind="box")
        out.text(164 + 28 * column, 318, bits, "code", "middle")
    out.box(12, 354, 456, 52, "128 dimensions: 4 + 128 × 2 / 8 = 36 bytes", "in place of 256 as 16-bit floats")
    return out


def cascade() -> Drawing:
    """Fewer documents at each stage, each scored more exactly."""
    out = Drawing("The cascade: many documents scored roughly, few exactly", 290)
    stages = [
        (460, "All documents, or those of probed centroids", "similarities of centroids, in bytes"),
        (370, "The best 512: ndocs", "estimates with a known largest error"),
        (280, "Those that can be among the best", "exact MaxSim"),
        (150, "Ranking", "the best of them"),
    ]
    for place, (width, *lines) in enumerate(stages):
        y = 8 + 74 * place
        out.box((WIDTH - width) / 2, y, width, 50, *lines)
        if place:
            out.arrow((WIDTH / 2, y - 24), (WIDTH / 2, y - 1))
    return out


KNOBS = {  # key → what stands for it
    "model.dim": "model.dim",
    "training.round1.*": "training.round1",
    "mining.score_depth": "mining.score_depth",
    "denoising.margin": "denoising.margin",
    "training.round2.*": "training.round2",
    "document_maxlen": "document_maxlen",
    "clustering.*": "clustering.centroid_factor",
    "codec.nbits": "codec.nbits",
    "search.*": "search.nprobe",
    "measures": "measures",
    "runtime.*": "runtime.device",
}
COLUMNS = {
    "round 1": "round1",
    "teacher": "teacher",
    "scores": "round2.scored",
    "round 2": "round2.checkpoint",
    "vectors": "embeddings",
    "centroids": "index.centroids",
    "index": "index",
    "ranking": "ranking",
    "figures": "metrics",
}


def moves() -> Drawing:
    """What is built again when a key changes, from the references of the default pipeline."""
    sys.path.append(str(HERE.parent / "extensions"))
    from configuration_reference import composed

    found = composed()
    left, top, row, column = 158, 92, 28, 34
    out = Drawing("What is built again when a key changes", top + row * len(KNOBS) + 30)
    for place, name in enumerate(COLUMNS):
        out.text(left + place * column + column / 2 + 4, top - 12, name, "", "start", -50)
    for line, (shown, key) in enumerate(KNOBS.items()):
        y = top + line * row
        out.text(left - 12, y + 18, shown, "code", "end")
        affected = found.affected(key)
        for place, node in enumerate(COLUMNS.values()):
            kind = "good" if node in affected else "box"
            x = left + place * column + 2
            out.add("rect", x=x, y=y + 2, width=column - 4, height=row - 4, rx=4, kind=kind)
    out.text(WIDTH - 16, top + row * len(KNOBS) + 22, "filled: built again; empty: from the cache", "small", "end")
    return out


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "late_interaction": late_interaction,
    "loop": loop,
    "codec": codec,
    "cascade": cascade,
    "moves": moves,
}

if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (HERE / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")
