"""Every simulation of the suite holds the model's own laws against itself as it goes."""

from ojp_sizing.simulation.clock import Clock

Clock.checked = True
