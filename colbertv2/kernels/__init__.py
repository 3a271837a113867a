"""All code compiled by numba: the loops of search, codecs and index building.

``reference`` specifies the compiled functions in plain numpy, with the same names and arguments.
"""
