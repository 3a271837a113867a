"""Stages, nodes and artifacts: a node's stage fills a directory, named after the digest of all that determines it."""
