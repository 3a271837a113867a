"""Load a checkpoint with sentence-transformers and save it again. Arguments: both directories."""

import sys

from sentence_transformers import MultiVectorEncoder

source, destination = sys.argv[1:]
MultiVectorEncoder(source, device="cpu").save_pretrained(destination, create_model_card=False)
