"""Sweeps as a paper reports them: what was run, what a knob does, and how sure that is."""

from colbertv2.ablation.cells import Cell, Cells
from colbertv2.ablation.sweep import Sweep

__all__ = ["Cell", "Cells", "Sweep"]
