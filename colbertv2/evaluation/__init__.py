"""Rankings, the protocols that judge them, their measures and statistics."""
