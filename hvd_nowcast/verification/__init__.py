"""Scores of a forecast against what was observed: additive sums first, ratios of them last."""
