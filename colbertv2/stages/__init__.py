"""Stages: plain functions that fill one directory each, the only files that read or write artifacts."""
