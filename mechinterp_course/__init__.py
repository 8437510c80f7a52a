"""The reference library of the course: what its chapters import, and what answers are compared with."""

__version__ = "0.1.0"
