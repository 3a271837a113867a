"""Evaluate sweeps for a report: what was run, what effect each factor has, and how certain that is."""
