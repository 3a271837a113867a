"""Reproduce the tables of the papers: compare published values with measured ones, and give a verdict for each."""
