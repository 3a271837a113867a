"""The tables of the papers: published values as data, measured ones beside them, a verdict for each."""
