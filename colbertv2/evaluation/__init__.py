"""Rankings, measures, significance, and the table and figure of an experiment."""
