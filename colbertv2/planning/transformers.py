"""The size of a transformer, without loading it."""

from functools import cache

from colbertv2.files import read_json
from colbertv2.modeling.backbone import locate
from colbertv2.planning.declared import folder_of, is_declared_model


@cache
def transformer(backbone: str) -> tuple[float, float]:
    """The number of weights in a transformer's layers, all used for every token, and the bytes of all its weights."""
    declared = is_declared_model(backbone)
    folder = folder_of(backbone) if declared else locate(backbone)
    config = read_json(folder / "config.json")
    hidden = config["hidden_size"]
    layers = config["num_hidden_layers"] * (4 * hidden**2 + 2 * hidden * config.get("intermediate_size", 4 * hidden))
    if declared:
        return layers, 4.0 * (layers + hidden * (config["vocab_size"] + config["max_position_embeddings"]))
    return layers, float(sum(file.stat().st_size for file in folder.rglob("*.safetensors")))
