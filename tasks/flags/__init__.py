"""Flags: what an engine's command takes, release by release, and whether what our adapters emit is among it."""
