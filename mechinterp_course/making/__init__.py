"""How the embedded models are made: one command remakes each of them from a seed."""
