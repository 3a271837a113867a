"""Models: the late-interaction model (tokenisation, encoder and MaxSim; ColBERTv2 §3.1), teachers, baselines."""
