"""Stages: plain functions, each of which fills the directory of one artifact."""
