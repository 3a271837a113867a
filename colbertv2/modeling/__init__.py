"""The late-interaction model: tokenisation, encoder and MaxSim (ColBERTv2 §3.1)."""
