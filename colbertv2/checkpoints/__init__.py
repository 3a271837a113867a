"""Checkpoints on disk: one module for each layout, and one that recognises the layout."""
