"""Tables, figures and pages of demos, sweeps and reproductions."""
