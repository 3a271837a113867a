"""Search: the engines, and the searcher that asks them."""

from colbertv2.search.cascade import Cascade
from colbertv2.search.exhaustive import Exhaustive
from colbertv2.search.plaid import Plaid
from colbertv2.search.searcher import Engine, Searcher
from colbertv2.search.vanilla_colbertv2 import PaperEngine

__all__ = ["Cascade", "Engine", "Exhaustive", "PaperEngine", "Plaid", "Searcher"]
