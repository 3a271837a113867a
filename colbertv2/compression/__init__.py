"""How a token vector is stored: residual compression, and the two ends it is compared with (ColBERTv2 §3.3).

``ResidualCodec`` is the paper's; ``ProductCodec`` keeps more in the same bytes; ``Float16Codec`` keeps everything,
``BinaryCodec`` only the signs.
"""
