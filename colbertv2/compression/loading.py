"""Reading back any saved codec."""

import json
from pathlib import Path

from colbertv2.compression.binary import BinaryCodec
from colbertv2.compression.codec import Codec
from colbertv2.compression.product import ProductCodec
from colbertv2.compression.residual import ResidualCodec
from colbertv2.compression.uncompressed import Float16Codec
from colbertv2.errors import InputError


def load_codec(path: Path) -> Codec:
    """The codec that ``save`` wrote into the directory ``path``.

    Raises:
        InputError: there is no codec, it is of an unknown kind, or one of its files is damaged.

    >>> import numpy as np, tempfile
    >>> from colbertv2.compression.binary import BinaryCodec
    >>> from colbertv2.compression.codec import fit
    >>> from colbertv2.compression.loading import load_codec
    >>> codec = BinaryCodec()
    >>> fit(codec, np.ones((1, 8), np.float32), num_documents=1, average_length=1, seed=0, device="cpu")
    >>> path = Path(tempfile.mkdtemp())
    >>> codec.save(path)
    >>> load_codec(path).bytes_per_vector
    1
    """
    kinds = {kind.__name__: kind for kind in (ResidualCodec, ProductCodec, Float16Codec, BinaryCodec)}
    file = Path(path) / "codec.json"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        kind = kinds[settings.pop("codec")]
        return kind.load(Path(path), settings)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing, so {path} holds no codec; build the index again.") from None
    except KeyError as error:
        raise InputError(f"{file} names no known codec or lacks {error}; expected one of {', '.join(kinds)}.") from None
    except InputError:
        raise
    except (ValueError, TypeError, EOFError) as error:
        raise InputError(f"The codec in {path} is damaged ({error}); build the index again.") from None
