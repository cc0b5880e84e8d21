"""Finished runs compared: reads what runs leave in their directories and nothing else."""
