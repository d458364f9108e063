# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How big must this OJP deployment be?
#
# From a workload to a sized deployment, with the evidence for each number. The answer comes from simulation: requests
# arrive, wait, run and fail in a model of OJP, and the cheapest deployment is taken that is **shown** to keep the limits
# in three situations: at steady peak, when a pod is lost, and during a rolling update.
#
# **Read every number here as a prediction.** How much CPU a statement costs, or how long a pod takes to start, are
# predicted themselves, and not measured on your cluster (`data/constants.csv` says where each comes from). Measure yours
# before you rely on the answer.

# %%
import plotly.io

import ojp_sizing as ojp

# Figures travel inside this notebook, plotly.js included: they show offline, and in an exported HTML too.
plotly.io.renderers.default = "plotly_mimetype+notebook"

# %% [markdown]
# ## 1. What arrives
#
# One request is one **unit of work**: an application opens a connection, runs its statements and closes it. The rate
# below is the busiest minute that you plan for. Units arrive at random, so some seconds bring more than others.

# %%
WORKLOAD = "web-oltp"
UNITS_PER_S = 500
SEED = 1

workload = ojp.read_workload(WORKLOAD)
workload

# %% [markdown]
# ## 2. What to deploy
#
# The same seed gives the same answer, on any number of cores.

# %%
answer = ojp.size(ojp.Question(workload, UNITS_PER_S), ojp.Execution(seed=SEED))
deployment = answer.deployment
answer.table("deploy")

# %% [markdown]
# ## 3. What that was shown to do
#
# A **p99** is the latency that one unit in a hundred exceeds. Every value is a mean over independent runs, and the
# **95 % interval** says how far chance may have moved it. An objective counts as met only where the *whole* interval is
# below its limit; where the limit lies inside the interval, nothing is decided yet.
#
# *Recovered* measures are taken once the disruption is over: there, the limits of ordinary operation must hold again.

# %%
answer

# %% [markdown]
# ## 4. Why not smaller?
#
# One step down in each respect, everything else as it is, and what speaks against it. *Units hang* means that some units
# were unfinished when a run ended: work comes faster than it is done, or requests that wait hold what others need to
# finish, until a time-out.

# %%
answer.table("smaller")

# %% [markdown]
# ## 5. How much more could come?
#
# The same deployment at other rates, without any disruption. A queue does not grow in proportion to demand: latency is
# almost flat, then it bends, and beyond that it grows without end. **Look at how far the dotted
# line is from the bend.** That room is not spare; the next figure shows what it is for.

# %%
points = ojp.demand_curve(answer.question, deployment, ojp.Execution(seed=SEED))
ojp.figures.latency_against_demand(points, answer.question.objectives, sized_rate=UNITS_PER_S)

# %% [markdown]
# ## 6. A rolling update, second by second
#
# Kubernetes replaces one pod after the other, the highest ordinal first. A stopped pod lets running RPCs finish; the
# clients notice, and go to the others. **Read down from a dotted line:** a pod stops, a few units may fail, the pods
# that remain get busier, and p99 may rise. OJP divides the connection pool among the pods that the clients believe in, so pools
# are resized as well.
#
# This is one run with a chance of its own, not the mean over runs that was judged above.

# %%
ojp.figures.timeline(ojp.watch(answer.question, deployment, execution=ojp.Execution(seed=SEED)))

# %% [markdown]
# ## 7. The Helm values
#
# What `ojp-size` writes to a file, each sized number with its reason. Put your own database and workload in, and run the
# notebook again.

# %%
print(answer.files()["values.yaml"])
