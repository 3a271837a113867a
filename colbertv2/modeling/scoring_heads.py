"""How a cross-encoder makes one score of the joint encoding of a query and a passage."""

from typing import Literal

ScoringHead = Literal["late_interaction", "classifier"]
