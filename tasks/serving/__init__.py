"""A LaunchSpec becomes a running server: environments, processes, leases, readiness, and why it failed."""
