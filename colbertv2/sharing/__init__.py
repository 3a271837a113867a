"""Sharing a model: weights, a card made of its artifacts, its measured runs, and the hub."""
