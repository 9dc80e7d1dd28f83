"""Telemetry: what the GPUs and the engine itself say while a trial runs, taken by a process that only watches."""
