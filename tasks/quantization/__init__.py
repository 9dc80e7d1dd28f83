"""The recipes that make a checkpoint of another precision from the same weights."""
