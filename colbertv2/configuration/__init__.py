"""From overrides to a configuration, and from a configuration to its plan and its artifact."""

from colbertv2.configuration.composition import (
    CONF,
    EXPERIMENTS,
    build,
    compose,
    initialized,
    plan,
    runtime_of,
    target_node,
)

__all__ = ["CONF", "EXPERIMENTS", "build", "compose", "initialized", "plan", "runtime_of", "target_node"]
