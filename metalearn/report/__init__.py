"""Finished runs compared: reads result.json files and nothing else."""
