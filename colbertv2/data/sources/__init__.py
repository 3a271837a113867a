"""Data sources: one module for each kind of collection."""
