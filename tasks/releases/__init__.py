"""Releases of engines: what the package index has, and which of it is news."""
