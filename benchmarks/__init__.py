"""Measurements: ratios between things that were run side by side, since no machine is ever quiet. `make bench`."""
