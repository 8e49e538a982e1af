"""Every claim has a command: one script for each, and all of them by ``python -m benchmarks``."""
