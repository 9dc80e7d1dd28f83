"""The vocabulary of an experiment: what a person writes, parsed once, frozen, and expanded into cells."""
