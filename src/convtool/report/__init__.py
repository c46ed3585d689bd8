"""Plans, kernels and events as text for people and JSON for programs."""
