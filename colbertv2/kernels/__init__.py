"""Everything that numba compiles: loops of search, codecs and index building.

``reference`` says in plain numpy what the compiled functions compute, each under its own name with the same arguments.
"""
