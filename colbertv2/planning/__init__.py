"""Estimate what a plan will cost: time, memory and disk."""
