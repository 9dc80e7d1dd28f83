"""Engines compiled from checkpoints: made once for a release, a GPU, a checkpoint and its flags, and kept whole."""
