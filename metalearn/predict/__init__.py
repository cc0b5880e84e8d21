"""A trained learner on the command line: images in, a table, a page or sorted copies out."""
