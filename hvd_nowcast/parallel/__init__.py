"""Who works: the launcher that started us, and sums over all ranks."""
