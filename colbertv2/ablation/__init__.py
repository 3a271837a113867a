"""Sweeps as a paper reports them: what was run, what a knob does, and how sure that is."""
