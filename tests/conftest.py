"""Every simulation of the suite holds the model's own laws against itself as it goes, and loads few units at a time."""

from ojp_sizing.simulation.clock import Clock

Clock.checked = True
Clock.page_bits = 7
