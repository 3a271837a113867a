"""Load a checkpoint with colbert-ai and save it again. Arguments: its directory, the directory to save to."""

import sys

from colbert.infra import ColBERTConfig
from colbert.modeling.checkpoint import Checkpoint

source, destination = sys.argv[1:]
Checkpoint(source, colbert_config=ColBERTConfig.load_from_checkpoint(source), verbose=0).save(destination)
