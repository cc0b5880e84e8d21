"""Compares finished runs; reads only the files in their directories."""
