"""The single-vector baseline: mean-pooled, normalised states of a sentence encoder, scored by dot product."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import normalize

from colbertv2.checkpoints.pretrained import refuse_longer
from colbertv2.modeling.backbone import Backbone
from colbertv2.modeling.colbert import batches_by_length, distinct
from colbertv2.modeling.options import autocast
from colbertv2.modeling.tokenizer import pad


class SentenceEncoder:
    """Encode texts as one unit vector each, like sentence-transformers with mean pooling.

    Args:
        backbone: a sentence encoder.
        maxlen: maximum length of a text in tokens, special tokens included.
        device: the device to encode on.

    Raises:
        InputError: ``maxlen`` exceeds the transformer's positions.
    """

    def __init__(self, backbone: Backbone, maxlen: int, device: torch.device):
        self.transformer = backbone.transformer().eval()
        refuse_longer("maxlen", maxlen, self.transformer.config)
        torch.nn.Module.to(self.transformer, device)
        self.tokenizer = backbone.tokenizer()
        self.maxlen = maxlen
        self.device = device

    def encode(
        self, texts: Sequence[str], batch_tokens: int = 2048, bar: Callable = iter, precision: str = "32-true"
    ) -> np.ndarray:
        """Return unit vectors, float32 ``[N, hidden]``, in the given order; texts with the same tokens share one.

        Args:
            texts: N texts.
            batch_tokens: maximum number of tokens in a batch.
            bar: wraps the iterable of batches, to show progress.
            precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        """
        rows = self.tokenizer(list(texts), truncation=True, max_length=self.maxlen)["input_ids"]
        rows, numbers = distinct(rows)
        encoded = np.empty((len(rows), self.transformer.config.hidden_size), dtype=np.float32)
        with torch.inference_mode(), autocast(precision, self.device):
            for batch in bar(batches_by_length([len(row) for row in rows], batch_tokens)):
                ids, real = pad([rows[position] for position in batch], self.tokenizer.pad_token_id)
                ids, real = ids.to(self.device), real.to(self.device)
                states = self.transformer(input_ids=ids, attention_mask=real.long()).last_hidden_state.float()
                mean = (states * real.unsqueeze(-1)).sum(1) / real.sum(1, keepdim=True)
                encoded[batch] = normalize(mean, dim=-1).cpu().numpy()
        return encoded[numbers]
