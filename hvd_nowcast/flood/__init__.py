"""A trained flood model: discharge forecasts, and their scores beside simpler models."""
