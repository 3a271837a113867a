"""Stages, nodes and the directories they fill: the address of an artifact is the digest of what determined it."""
