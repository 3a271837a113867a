"""Stages, nodes and the directories they fill: the address of an artifact is the digest of what determined it."""

from colbertv2.artifacts.artifact import Artifact, location
from colbertv2.artifacts.build import BuildError, Step, build_node, failure_of, plan_node
from colbertv2.artifacts.node import Component, Node
from colbertv2.artifacts.reader import parse, parse_value
from colbertv2.artifacts.stage import Stage, stage, stage_of
from colbertv2.artifacts.validate import component_problems, suggestion, validate
from colbertv2.planning.estimate import Cost, Estimate, Estimates, estimate_nodes, to_text

__all__ = [
    "Artifact",
    "BuildError",
    "Component",
    "Cost",
    "Estimate",
    "Estimates",
    "Node",
    "Stage",
    "Step",
    "build_node",
    "component_problems",
    "estimate_nodes",
    "failure_of",
    "location",
    "parse",
    "parse_value",
    "plan_node",
    "stage",
    "stage_of",
    "suggestion",
    "to_text",
    "validate",
]
