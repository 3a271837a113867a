"""How token vectors are stored: residual compression (ColBERTv2 §3.3) and the codecs it is compared with.

``ResidualCodec`` is the paper's method. ``ProductCodec`` loses less in almost the same number of bytes.
``Float16Codec`` stores every value as a 16-bit float, ``BinaryCodec`` only the signs, and ``CentroidCodec`` only the
centroid.
"""
