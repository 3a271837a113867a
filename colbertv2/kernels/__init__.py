"""Everything that numba compiles: loops of search, codecs and index building."""
