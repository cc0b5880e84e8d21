"""Numbers on which a run and the controller of its sweep agree."""

FAILED, BAD_INPUT = 1, 2
"""Exit codes."""

ECHO = 1.0
"""Seconds in which a repeated signal counts once.

SLURM sends a signal to all processes of a job, and a parent process forwards it again.
"""
