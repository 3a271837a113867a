"""How token vectors are stored: residual compression (ColBERTv2 §3.3) and the codecs it is compared with.

``ResidualCodec`` is the paper's method. ``ProductCodec`` loses less in almost the same number of bytes.
``TernaryCodec`` has three levels per dimension of the residual, and ``CentroidCodec`` stores no residual at all.
Without centroids, ``RotatedCodec`` quantises randomly rotated vectors (RaBitQ, TurboQuant), ``Float16Codec`` stores
every value as a 16-bit float, and ``BinaryCodec`` only the signs.
"""
