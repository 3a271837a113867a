"""Rankings, the protocols that evaluate them, effectiveness measures, and statistics."""
