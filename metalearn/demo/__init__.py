"""Page on which one draws characters, and sees which of them a new drawing is."""
