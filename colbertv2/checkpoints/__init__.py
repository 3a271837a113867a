"""Checkpoints on disk: one file for each layout, and one that recognises them."""
