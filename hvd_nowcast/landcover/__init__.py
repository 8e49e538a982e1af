"""A trained land-cover model: class maps, and their scores beside a random forest."""
