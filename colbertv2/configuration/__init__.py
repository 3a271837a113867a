"""From overrides to a configuration, and from a configuration to its plan and its artifact."""
