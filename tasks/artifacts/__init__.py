"""Content-addressed store of weights, checkpoints and engines, and the sources that fill it."""
