"""Trained learner on the command line: reads images, writes a table, a page or sorted copies."""
