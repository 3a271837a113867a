"""Load a checkpoint with PyLate and save it again. Arguments: its directory, the directory to save to."""

import sys

from pylate import models

source, destination = sys.argv[1:]
models.ColBERT(source, device="cpu").save_pretrained(destination, create_model_card=False)
