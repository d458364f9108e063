"""Figures of results: each function takes what a run gave and returns a plotly figure with a title and a caption.

Nothing is computed here but what is drawn. One style (``style``), colours that stay apart for colour-blind readers, a unit on
every axis, a 95 % interval wherever a number has one.
"""

from ojp_sizing.report.figures.alternatives import frontier, knob_prices, risk, risk_against_replicas, tornado
from ojp_sizing.report.figures.demand import highest_shown_rate, latency_against_demand
from ojp_sizing.report.figures.fit import fit_of_distribution
from ojp_sizing.report.figures.resources import connections_ledger, use_of_resources
from ojp_sizing.report.figures.timeline import pod_lanes, timeline

__all__ = [
    "connections_ledger",
    "fit_of_distribution",
    "frontier",
    "highest_shown_rate",
    "knob_prices",
    "latency_against_demand",
    "pod_lanes",
    "risk",
    "risk_against_replicas",
    "timeline",
    "tornado",
    "use_of_resources",
]
