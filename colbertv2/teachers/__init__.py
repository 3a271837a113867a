"""Teachers: cross-encoders that score a query and a passage together (ColBERTv2 §3.2)."""

from colbertv2.teachers.cross_encoder import CrossEncoder, PairEncoding

__all__ = ["CrossEncoder", "PairEncoding"]
