"""How a token vector is stored: residual compression, and the two ends it is compared with (ColBERTv2 §3.3).

``ResidualCodec`` is the paper's; ``ProductCodec`` keeps more in the same bytes; ``Float16Codec`` keeps everything,
``BinaryCodec`` only the signs.
"""

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.clustering.clusters import CentroidsOf, Clusters
from colbertv2.compression.codec import Codec, fit
from colbertv2.compression.loading import load_codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec

__all__ = [
    "BinaryCodec",
    "CentroidsOf",
    "Clusters",
    "Codec",
    "Float16Codec",
    "ProductCodec",
    "ResidualCodec",
    "fit",
    "load_codec",
]
