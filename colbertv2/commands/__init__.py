"""The verbs of the command ``colbertv2``, one module for each."""
