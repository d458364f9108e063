"""docs/verification.md and its figures, from results: no figure of the page is typed by hand."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from html import escape
from itertools import groupby
from math import log10
from pathlib import Path

import numpy as np

from tests.fuzz.record import read_record, section

from .cases import (
    DE_SMIT_INSIDE,
    DE_SMIT_NO_WAIT,
    DE_SMIT_WAIT,
    ERLANG,
    GROENVELD,
    HYPEREXPONENTIAL,
    LOADS,
    SERVICE_S,
)
from .oracles import phase_service
from .running import AGAIN, CONFIDENCE, CUSTOMERS, REPLICATIONS, SIGNIFICANCE, WARM_UP, Fit, Result, gap

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results.json"
DIGITS = 6


def rounded(value: object) -> object:
    """Numbers to so many digits that processors which differ in the last bit agree."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def results_text(results: Iterable[Result]) -> str:
    """The file of results: JSON, a line for each."""
    lines = [json.dumps(rounded(asdict(result)), ensure_ascii=False) for result in results]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def read_results(text: str) -> list[Result]:
    """What ``results_text`` wrote."""
    results = []
    for row in json.loads(text):
        row["fit"] = None if row["fit"] is None else Fit(**row["fit"])
        row["means"] = tuple(row["means"])
        row["curve"] = tuple(tuple(point) for point in row["curve"])
        results.append(Result(**row))
    return results


# Text ---------------------------------------------------------------------------------------------------------------


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:#.4g}".removesuffix(".")


def percent(value: float) -> str:
    return f"{100 * value:+.2f} %"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def by_family(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    return [(family, list(group)) for family, group in groupby(results, lambda result: result.family)]


def _means(results: Sequence[Result]) -> str:
    rows = []
    for r in results:
        interval = f"{number(r.mean)} [{number(r.low)}, {number(r.high)}]"
        ends = f"[{percent(r.low / r.theory - 1)}, {percent(r.high / r.theory - 1)}]"
        fits = "" if r.fit is None else f"{r.fit.distance:.4f} <= {r.fit.critical:.4f} ({r.fit.values:,})"
        verdict = "yes" if r.passes else "**NO**"
        rows.append([r.queue, f"{r.load:g}", r.measure, number(r.theory), interval, ends, fits, verdict])
    head = ["queue", "load", "measure", "theory", "simulated, 99 % interval", "off by", "KS distance", "agrees"]
    return table(head, rows)


def _summary(results: Sequence[Result]) -> str:
    rows = []
    for family, mine in by_family(results):
        worst = max(mine, key=lambda r: max(abs(r.low / r.theory - 1), abs(r.high / r.theory - 1)) / r.tolerance)
        off = max(abs(worst.low / worst.theory - 1), abs(worst.high / worst.theory - 1))
        fits = [r.fit.distance / r.fit.critical for r in mine if r.fit is not None]
        rows.append(
            [
                family,
                ", ".join(dict.fromkeys(r.station for r in mine)),
                "; ".join(dict.fromkeys(r.source for r in mine)),
                f"{100 * off:.2f} % of {100 * worst.tolerance:.0f} % ({worst.queue} at {worst.load:g})",
                f"{max(fits):.2f}" if fits else "",
                f"{sum(r.passes for r in mine)} of {len(mine)}",
            ]
        )
    head = ["queue", "part of the model", "theory", "worst end of an interval", "worst KS distance / greatest", "agree"]
    return table(head, rows)


def _published(results: Sequence[Result]) -> str:
    def simulated(queue: str, load: float) -> str:
        for r in results:
            if r.queue == queue and r.load == load:
                return f"{number(r.mean)} [{number(r.low)}, {number(r.high)}]"
        return ""

    assert HYPEREXPONENTIAL.phases is not None
    assert ERLANG.phases is not None
    exact = phase_service(15, 13.5, HYPEREXPONENTIAL.phases)
    rows = [
        ["M/H2/15", "0.9", "mean wait", f"{DE_SMIT_WAIT}", f"{exact.mean_wait:.5f}", simulated("M/H2/15", 0.9)],
        ["M/H2/15", "0.9", "P(no wait)", f"{DE_SMIT_NO_WAIT}", f"{exact.no_wait:.5f}", ""],
        ["M/H2/15", "0.9", "mean number inside", f"{DE_SMIT_INSIDE}", f"{exact.mean_inside:.4f}", ""],
    ]
    for load, row in GROENVELD.items():
        for servers, value in enumerate(row, 1):
            ours = phase_service(servers, load * servers, ERLANG.phases).mean_wait
            found = simulated(f"M/E2/{servers}", load)
            rows.append([f"M/E2/{servers}", f"{load:g}", "mean wait", f"{value:.2f}", f"{ours:.4f}", found])
    return table(["queue", "load", "measure", "published", "exact solution", "simulated"], rows)


def page(results: Sequence[Result]) -> str:
    """The Markdown page."""
    families = by_family(results)
    agree = sum(r.passes for r in results)
    tables = "\n\n".join(f"### {family}\n\n{_means(mine)}" for family, mine in families)
    loads = ", ".join(f"{load:g}" for load in LOADS)
    fewest, most = min(CUSTOMERS.values()), max(r.customers for r in results)
    return f"""# Verification

Does the simulation queue as queues do? Parts of the model are M/M/c, M/D/c, M/G/1 and other queues of the textbooks as soon
as nothing else takes time. This page runs them through the model and compares them with theory: {len(results)} measures,
{agree} agree. It says nothing of OJP itself: whether the model has the right rules is the matter of [model.md](model.md).

The page, its figures and `tests/verification/results.json` are written by one command, the same bytes every time:

    make verification

`make test` runs {AGAIN} of the {REPLICATIONS} replications of every case again, with the seeds that they had, and one
case whole. It fails where one isn't what is kept of it, or where what is kept doesn't agree with theory or with this page.

## What agrees

{_summary(results)}

![Deviation from theory, by load](figures/verification-means.svg)

Every case runs through `simulate` on the compiled clock. The deployment is one pod on which only the named part takes
time: no network latency, no CPU for an RPC, no pool but the one in question. Each unit of work is one `executeUpdate`
without a session. Times below are in units of the mean service time ({1000 * SERVICE_S:.0f} ms).

*Agrees* means **shown to be right**: the whole {100 * CONFIDENCE:.0f} % interval lies within 2 % of theory (5 % above load 0.9,
and for the rare waits of M/H2/15), and the distribution passes where one is known. An interval that is too wide fails like
a mean that is wrong. The tests also run models that are wrong on purpose, with services 3 % longer or one server more: none
of them passes.

## Customer by customer

For first come, first served there is a stronger check than any mean: the recursion of Kiefer and Wolfowitz, ten lines of
Python, gets the same arrivals and services. The tests require each customer's wait to be the same within a nanosecond, for
client threads, connections and both lanes of slots, with all four kinds of service, on the compiled clock and on SimPy's;
for client threads also with arrivals that come at the same instant. All cases run on both clocks as well, in small, and must
end alike, bit for bit.

## How the means are judged

* {REPLICATIONS} independent replications of {fewest:,} to {most // REPLICATIONS:,} customers. Each starts empty; the first
  {100 * WARM_UP:.0f} % of its customers are dropped.
* The interval is Student's over the replications, after averages whose expectation is known to be 0 have been regressed out
  (control variates): how far services and gaps between arrivals lay from their means, and the same times the wait, or the
  number of customers, that the customer met. What a customer meets can't depend on its own service or on the next gap, so
  these averages have no part in the mean, only in its noise, most of which they take away at high load.
* Seeds are fixed. A verdict can't change by chance, only by a change of the model, of the cases, or of numpy's streams.

## How the distributions are judged

Kolmogorov and Smirnov compare the largest distance between the simulated and the known distribution with what chance
allows. The test wants independent values, and neighbours in a queue are alike. So of each replication only every n-th
customer is taken, n being four times M/M/1's relaxation time, `4 a / (1 - sqrt(a))^2` customers at load a, and three times
that for H2 ({gap(1.0, 0.3)} at load 0.3, {gap(1.0, 0.9):,} at 0.9). The greatest distance that passes is that of Massart (1990)
for a chance of {SIGNIFICANCE:g} each; it holds for distributions with steps too, such as the customers that don't wait at
all. Compared are waits; where processors are shared, the number of customers that an arrival meets.

![Two distributions of the wait](figures/verification-distributions.svg)

## Published values

Mean waits of M/G/c have no closed form. Theory is here the exact solution of the Markov chain
(`tests/verification/oracles.py`), which first has to reproduce what others published:

{_published(results)}

The values for M/H2/15 are de Smit's; Ramaswami and Lucantoni have 1.11606 for the mean. Those for M/E2/n are Groenveld's
table IV, which has two decimals. At load 0.9 and n > 1 that table is 2 to 3 % below the exact solution. The solution is the
one that passes through de Smit's values, M/M/c and Pollaczek and Khinchine's formula, and the simulation agrees with it, not
with those entries.

## Every case

Loads are {loads}. With 15 servers hardly anybody waits at low load, and these cases begin at 0.8 or 0.9.
In the two partitions the slow lane is nearly full while the fast one is nearly empty, and the reverse. Patience is one mean
service time; *mean wait* is then of those who are served. The last column but one has the distance found, the greatest that
passes, and the number of values.

{tables}

{section(read_record())}

## What this doesn't show

* Each queue stands alone. OJP's rules together have their own tests, and no closed form.
* A pod's CPU only where one core is shared and its limit doesn't throttle.
* Transient behaviour, such as the seconds after a pod is lost: theory here is of the steady state. The comparison customer
  by customer isn't bound to that.
* Network, think time, sessions over several statements, borrowing between lanes, and the pool's growth: none of them takes
  part here.

## Sources

* D. Y. Barrer (1957), Queuing with impatient customers and ordered service, Operations Research 5, 650-656.
* F. Baccelli and G. Hebuterne (1981), On queues with impatient customers, Performance '81, 159-179.
* L. Bright and P. G. Taylor (1995), Calculating the equilibrium distribution in level dependent quasi-birth-and-death
  processes, Stochastic Models 11, 497-525.
* C. D. Crommelin (1932), Delay probability formulae when the holding times are constant, P.O. Electrical Engineers' Journal
  25, 41-50; G. J. Franx (2001), A simple solution for the M/D/c waiting time distribution, Operations Research Letters 29,
  221-229.
* J. H. A. de Smit (1983), Numerical solution for the multi-server queue with hyper-exponential service times, Operations
  Research Letters 2, 217-224; V. Ramaswami and D. M. Lucantoni (1985), Algorithms for the multi-server queue with phase type
  service, Stochastic Models 1, 393-417. Both read as quoted in the validation program of
  [phph](https://github.com/areenberg/phph), not in the journals.
* R. Groenveld (2007), Service Systems in Ports and Inland Waterways, table IV; PIANC (2014), report 121, table 6.1. Read as
  quoted in [OpenQTSim](https://github.com/TUDelft-CITG/OpenQTSim), not in the book.
* S. G. Henderson and P. W. Glynn (2002), Approximating martingales for variance reduction in Markov process simulation,
  Mathematics of Operations Research 27, 253-271; S. S. Lavenberg and P. D. Welch (1981), A perspective on the use of control
  variables, Management Science 27, 322-335.
* J. Kiefer and J. Wolfowitz (1955), On the theory of queues with many servers, Transactions of the AMS 78, 1-18.
* L. Kleinrock (1967), Time-shared systems: a theoretical treatment, Journal of the ACM 14, 242-261; F. P. Kelly (1979),
  Reversibility and Stochastic Networks, section 3.3.
* P. Massart (1990), The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, Annals of Probability 18, 1269-1283.
* M. F. Neuts (1981), Matrix-Geometric Solutions in Stochastic Models.
"""


# Figures ------------------------------------------------------------------------------------------------------------

#: Okabe and Ito (2008): they stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
_INK, _FAINT, _BAND = "#222222", "#cccccc", "#eef3f8"


class Drawing:
    """An SVG of lines, marks and text; text is escaped."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="Helvetica, Arial, sans-serif" font-size="12" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>',
        ]

    def rectangle(self, x: float, y: float, width: float, height: float, fill: str) -> None:
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>')

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0, dash: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
        )

    def dot(self, x: float, y: float, colour: str, radius: float = 2.6) -> None:
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>')

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False, size: int = 12) -> None:
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}"{weight}>'
            f"{escape(text)}</text>"
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


def means_figure(results: Sequence[Result]) -> str:
    """A panel for each family: deviation from theory with its interval, by load, before the band of tolerance."""
    families = by_family([r for r in results if r.tolerance == (0.02 if r.load <= 0.9 else 0.05)])
    across, width, height, left, top = 2, 520.0, 205.0, 46.0, 40.0
    down = -(-len(families) // across)
    drawing = Drawing(across * width, 34 + down * height, "Deviation of simulated means from theory, by load")
    drawing.text(
        14, 22, "Simulated against theory: % off by load, with 99 % interval; shaded: tolerance", bold=True, size=14
    )
    most, inner_w, inner_h = 6.0, 280.0, 130.0
    for index, (family, mine) in enumerate(families):
        x0, y0 = (index % across) * width + left, 34 + (index // across) * height + top
        middle = y0 + inner_h / 2

        def y_of(off: float, middle: float = middle) -> float:
            return middle - 100 * off / most * inner_h / 2

        def x_of(load: float, x0: float = x0) -> float:
            return x0 + 28 + float(np.interp(load, LOADS, range(len(LOADS)))) * (inner_w - 56) / (len(LOADS) - 1)

        edge = x_of(0.925)
        drawing.text(x0, y0 - 9, family, bold=True)
        drawing.rectangle(x0, y_of(0.02), edge - x0, y_of(-0.02) - y_of(0.02), _BAND)
        drawing.rectangle(edge, y_of(0.05), x0 + inner_w - edge, y_of(-0.05) - y_of(0.05), _BAND)
        for off in (-0.05, -0.02, 0.0, 0.02, 0.05):
            drawing.line([(x0, y_of(off)), (x0 + inner_w, y_of(off))], _INK if off == 0 else _FAINT, 0.7)
            drawing.text(x0 - 6, y_of(off) + 4, f"{100 * off:+.0f}" if off else "0", anchor="end", size=11)
        for load in LOADS:
            drawing.text(x_of(load), y0 + inner_h + 15, f"{load:g}", anchor="middle", size=11)
        names = list(dict.fromkeys((r.queue, r.measure) for r in mine))
        for place, (queue, measure) in enumerate(names):
            colour, shift = COLOURS[place % len(COLOURS)], 4.2 * (place - (len(names) - 1) / 2)
            for r in (r for r in mine if (r.queue, r.measure) == (queue, measure)):
                x = x_of(r.load) + shift
                drawing.line([(x, y_of(r.low / r.theory - 1)), (x, y_of(r.high / r.theory - 1))], colour, 1.6)
                drawing.dot(x, y_of(r.mean / r.theory - 1), colour)
            y = y0 + 8 + 17 * place
            drawing.dot(x0 + inner_w + 12, y - 4, colour, 3.4)
            alone = len({queue for queue, _ in names}) == 1
            drawing.text(x0 + inner_w + 20, y, measure if alone or not measure.startswith("mean") else queue, size=11)
        if index >= len(families) - across:
            drawing.text(x0 + inner_w / 2, y0 + inner_h + 29, "load", anchor="middle", size=11)
    return str(drawing)


def distributions_figure(results: Sequence[Result]) -> str:
    """Share of longer waits on a logarithmic scale: theory as a line, the simulation as points with intervals."""
    drawn = [r for r in results if r.curve]
    width, height, left, top, inner_w, inner_h = 470.0, 330.0, 64.0, 66.0, 380.0, 205.0
    drawing = Drawing(len(drawn) * width, height, "Distributions of the wait: theory and simulation")
    drawing.text(14, 22, "Share of customers that wait longer", bold=True, size=14)
    for index, r in enumerate(drawn):
        x0, longest = index * width + left, r.curve[-1][0]
        decades = next(d for d in range(1, 9) if 10.0**-d < min(point[1] for point in r.curve))

        def x_of(x: float, x0: float = x0, longest: float = longest) -> float:
            return x0 + x / longest * inner_w

        def y_of(share: float, decades: int = decades) -> float:
            return top - log10(max(share, 10.0**-decades)) / decades * inner_h

        drawing.text(x0, top - 16, f"{r.queue} at load {r.load:g}", bold=True)
        for decade in range(decades + 1):
            y = y_of(10.0**-decade)
            drawing.line([(x0, y), (x0 + inner_w, y)], _FAINT, 0.7)
            drawing.text(x0 - 6, y + 4, f"{100 * 10.0**-decade:g} %", anchor="end", size=11)
        for part in range(5):
            x = longest * part / 4
            drawing.text(x_of(x), top + inner_h + 16, f"{x:g}", anchor="middle", size=11)
        drawing.text(x0 + inner_w / 2, top + inner_h + 34, "wait, mean service times", anchor="middle", size=11)
        drawing.line([(x_of(x), y_of(known)) for x, known, *_ in r.curve], COLOURS[1], 1.6)
        for x, _, found, low, high in r.curve:
            drawing.line([(x_of(x), y_of(low)), (x_of(x), y_of(high))], COLOURS[0], 1.4)
            drawing.dot(x_of(x), y_of(found), COLOURS[0], 2.2)
        drawing.line([(x0 + 232, top + 12), (x0 + 252, top + 12)], COLOURS[1], 1.6)
        drawing.text(x0 + 258, top + 16, "theory", size=11)
        drawing.dot(x0 + 242, top + 28, COLOURS[0], 2.6)
        drawing.text(x0 + 258, top + 32, "simulated, 99 %", size=11)
    return str(drawing)


def documents(results: Sequence[Result]) -> dict[str, str]:
    """Every file that the command writes, by its path in the repository."""
    return {
        "docs/verification.md": page(results),
        "docs/figures/verification-means.svg": means_figure(results),
        "docs/figures/verification-distributions.svg": distributions_figure(results),
    }
