"""Data for unit tests: a tiny random BERT with a real vocabulary file, a small folder, a sweep with known effects."""

import itertools
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.artifacts.artifact import Artifact
from colbertv2.artifacts.integrity import RECORD, digest_of
from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.centroid_only import CentroidCodec
from colbertv2.compression.clustering.clustering import Clustering
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.rotated import RotatedCodec
from colbertv2.compression.ternary import TernaryCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.files import write_json
from colbertv2.indexing.embeddings import Embeddings, EmbeddingsWriter
from colbertv2.indexing.index import Index

CODECS: dict[str, Callable[[int], Codec]] = {  # name → a codec with so many bits, if it has any
    "residual": lambda nbits: ResidualCodec(nbits),  # pyright: ignore[reportArgumentType]
    "product": lambda nbits: ProductCodec(nbits),  # pyright: ignore[reportArgumentType]
    "fp16": lambda _: Float16Codec(),
    "sign": lambda _: BinaryCodec(),
    "centroids": lambda _: CentroidCodec(),
    "ternary": lambda _: TernaryCodec(),
    "rotated": lambda nbits: RotatedCodec(nbits),  # pyright: ignore[reportArgumentType]
    "centred": lambda nbits: RotatedCodec(nbits, rotate=False, center=True),  # pyright: ignore[reportArgumentType]
}

WORDS = ["the", "a", "of", "in", "python", "list", "string", "join", "sort", "open"]
WORDS += ["file", "read", "write", "number", "text", "parse", "return", "value", "key", "map"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]


@cache
def tiny_bert() -> Path:
    """The directory of a 2-layer BERT with 32 dimensions and a vocabulary of a few words, letters and punctuation."""
    directory = Path(mkdtemp(prefix="tiny-bert-"))
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)] + list("0123456789")
    pieces = SPECIAL + list(
        dict.fromkeys([*WORDS, *letters, *(f"##{letter}" for letter in letters), *"!.,;:()[]{}+-*/=_"])
    )
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    fast = FastTokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    fast.normalizer = BertNormalizer(lowercase=True)
    fast.pre_tokenizer = BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    fast.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    PreTrainedTokenizerFast(tokenizer_object=fast, **names).save_pretrained(directory)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=512, pad_token_id=0, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    return directory


def tiny_folder(directory: Path, documents: int = 30, splits: tuple[str, ...] = ("train", "dev", "test")) -> Path:
    """A local collection in which every document answers one query; the queries are distributed over the splits."""
    import json

    phrases = [" ".join(words) for words in itertools.islice(itertools.permutations(WORDS, 3), 0, 40 * documents, 40)]
    (directory / "qrels").mkdir(parents=True)
    with (directory / "corpus.jsonl").open("w") as corpus, (directory / "queries.jsonl").open("w") as queries:
        for number, phrase in enumerate(phrases):
            corpus.write(json.dumps({"_id": f"d{number}", "title": "", "text": f"{phrase} = return(value)."}) + "\n")
            queries.write(json.dumps({"_id": f"q{number}", "text": f"the {phrase}"}) + "\n")
    for part, split in enumerate(splits):
        rows = [f"q{number}\td{number}\t1" for number in range(part, len(phrases), len(splits))]
        (directory / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    return directory


def shrunk(folder: Path, root: Path) -> list[str]:
    """Overrides that run any configuration in seconds: the tiny model, a local folder, two steps."""
    training = [
        f"training.{role}.{key}"
        for role in ("round1", "teacher", "round2")
        for key in (
            "optimization.steps=2",
            "optimization.warmup_steps=1",
            "batch_size=2",
            "in_batch_groups=1",
            "precision=32-true",
            "validation_interval=1",
        )
    ]
    return [
        "collection=folder",
        f"collection.path={folder}",
        f"model.backbone.name={tiny_bert()}",
        "model.backbone.sha256=null",
        "model.dim=16",
        *training,
        "training.teacher.n_way=3",
        "training.round2.n_way=3",
        "mining.depth=8",
        "mining.score_depth=6",
        "mining.dev_depth=4",
        "depth=20",
        f"runtime.root={root}",
        "runtime.wandb=disabled",
        "runtime.progress=false",
        "runtime.latency_queries=2",
        "publish=null",
    ]


def rewrite_record(artifact: Artifact, **changes: object) -> None:
    """Change the content of ``artifact.json``, as if its stage had written it like that."""
    record = {**artifact.record, **changes}
    write_json(artifact.path / RECORD, {**record, "digest": digest_of(record)})


def unit(vectors: np.ndarray) -> np.ndarray:
    """The rows scaled to L2 norm 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def no_bar(items: Iterable, *_: object) -> Iterable:
    """Replaces a progress bar."""
    return items


def index_of(
    path: Path, codec: Codec, lengths: list[int], dim: int, seed: int, clustering: Clustering | None = None
) -> Index:
    """An index of random documents of these lengths."""
    writer = EmbeddingsWriter(path / "embeddings", dim)
    vectors = unit(np.random.default_rng(seed).normal(size=(sum(lengths), dim)))
    writer.add([f"d{place}" for place in range(len(lengths))], vectors, np.array(lengths))
    writer.close()
    return Index.build(
        Embeddings.open(path / "embeddings"), codec, path / "index",
        clustering=clustering, seed=seed, bar=no_bar,
    )  # fmt: skip


def agree(found: list, exact: list, tolerance: float = 1e-3) -> None:
    """Assert that every score is the document's exact one, and that no document that is left out is better."""
    for (positions, scores, _), (all_positions, all_scores, *_) in zip(found, exact, strict=True):
        expected = dict(zip(all_positions.tolist(), all_scores.tolist(), strict=True))
        np.testing.assert_allclose(scores, [expected[place] for place in positions.tolist()], atol=tolerance)
        np.testing.assert_allclose(scores, all_scores[: len(scores)], atol=tolerance)


COLLECTION = "made up"  # the name of the collection of ``made_cells``


def made_cells(
    factors: dict[str, list[str]],
    effect: Callable[[dict[str, str]], float] = lambda setting: 0.0,
    *,
    seeds: tuple[int, int] = (1, 1),
    queries: int | dict[str, int] = 50,
    measures: tuple[str, ...] = ("RR@10",),
    noise: tuple[float, float, float] = (0.0, 0.0, 0.02),
    fails: Callable[[dict[str, str]], bool] = lambda setting: False,
    grid: bool = True,
    trained: str = "",
) -> Cells:
    """A sweep with known effects; its baseline is the first value of every factor.

    Args:
        effect: the setting → the number that it adds to every value.
        seeds: number of training seeds and of k-means seeds.
        noise: standard deviations of the noise that is drawn for each setting and training seed, for each setting and
            k-means seed, and for each value. In addition, queries differ with a deviation of .2, the same way in all
            settings.
        fails: whether a setting has no values.
        queries: how many; of each collection if there are several.
        grid: whether to have all combinations, or only those that differ from the baseline in one factor.
        trained: the factor of training: each of its values has models of its own.
    """
    rng = np.random.default_rng(0)
    sizes = {COLLECTION: queries} if isinstance(queries, int) else queries
    difficulty = {measure: {name: rng.normal(0.5, 0.2, size) for name, size in sizes.items()} for measure in measures}
    baseline = {factor: values[0] for factor, values in factors.items()}
    cells = []
    for place, chosen in enumerate(itertools.product(*factors.values())):
        setting = dict(zip(factors, chosen, strict=True))
        if not grid and sum(setting[factor] != baseline[factor] for factor in factors) > 1:
            continue
        values = {
            measure: {
                name: effect(setting)
                + difficulty[measure][name]
                + rng.normal(0, noise[0], (seeds[0], 1, 1))
                + rng.normal(0, noise[1], (1, seeds[1], 1))
                + rng.normal(0, noise[2], (*seeds, size))
                for name, size in sizes.items()
            }
            for measure in measures
        }
        command = "python -m colbertv2 " + " ".join(f"{factor}={value}" for factor, value in setting.items())
        costs = {"bytes_per_token": 20.0 + place, "bytes_per_document": 900.0 + 30 * place, "ms_per_query": 9.0 - place}
        failed = fails(setting)
        problem = "InputError: no such codec;\nexpected one of residual, fp16." if failed else None
        address = frozenset({f"train-{setting.get(trained, '')}"})
        cells.append(Cell(setting, {} if failed else values, {} if failed else costs, problem, command, address))
    return Cells(
        title="Made up",
        factors=factors,
        training_seeds=[str(seed) for seed in range(seeds[0])],
        kmeans_seeds=[str(seed) for seed in range(seeds[1])],
        queries={name: [f"q{number}" for number in range(size)] for name, size in sizes.items()},
        measures=list(measures),
        cells=cells,
        baseline=next(cell for cell in cells if cell.factors == baseline),
        commands=["python -m colbertv2 report"],
    )
