"""A trained nowcast: forecasts, and their scores beside persistence and optical flow."""
