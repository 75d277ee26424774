"""What ``publish.py`` does: measure, clean, compare, and make pages, one module each."""

from pathlib import Path

HERE = Path(__file__).resolve().parents[1]  # asv_bench
ROOT = HERE.parent
RESULTS = HERE / "results"
PAGES = HERE / ".asv" / "html"
MACHINE = "reference"  # what every machine is called: ratios are to be compared, not machines


class BenchError(RuntimeError):
    """Something that a person has to put right first; its one sentence is all that is shown of it."""
