"""Where rain on each place goes, and when it arrives: networks, travel times, contributions."""
