"""Compose configurations from overrides, and find their plans, artifacts, sweep points and the origin of values."""
