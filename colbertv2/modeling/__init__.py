"""The late-interaction model: tokenisation, encoder and MaxSim (ColBERTv2 §3.1)."""

from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import ColBERT
from colbertv2.modeling.cross_encoder import CrossEncoder
from colbertv2.modeling.maxsim import maxsim, maxsim_all_pairs
from colbertv2.modeling.tokenizer import Conventions, Encoding, Tokenizer

__all__ = ["Backbone", "ColBERT", "Conventions", "CrossEncoder", "Encoding", "Tokenizer", "maxsim", "maxsim_all_pairs"]
