"""Test that compilation is announced once."""

import os
import subprocess
import sys

USE = """
import numpy as np
from colbertv2.compression.bitpack import reversed_bits
from colbertv2.kernels.codecs import pack_buckets
one = np.zeros((1, 8), np.float32)
packed = np.empty((1, 1), np.uint8)
for codes in (np.zeros(1, np.int32), np.zeros(1, np.int64)):
    pack_buckets(one, codes, one, np.zeros(1, np.float32), reversed_bits(1), packed)
assert packed[0, 0] == 0
"""


def test_compilation_is_announced_once_and_kept_on_disk(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    outputs = [
        subprocess.run([sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=True).stderr
        for _ in range(2)
    ]
    assert [output.count("Compiling loops") for output in outputs] == [1, 0]
    assert list(tmp_path.rglob("*.nbc"))
