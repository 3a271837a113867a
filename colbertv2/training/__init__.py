"""Training: examples, objectives and the Lightning module (ColBERTv2 §3.2)."""
