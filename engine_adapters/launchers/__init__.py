"""Programs that run under an engine's own Python, by path. Text to this project: never imported by it."""
