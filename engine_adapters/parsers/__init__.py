"""Builders of the engines' own parsers, by path, under a Python that has the engine. Never imported by this project."""
