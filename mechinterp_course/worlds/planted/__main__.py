"""`python -m mechinterp_course.worlds.planted`: how often each way of solving names the planted heads."""

import argparse
import sys

from rich.progress import Progress

from mechinterp_course.worlds.planted.circuit import FAMILIES
from mechinterp_course.worlds.planted.survey import METHODS, Rate, survey


def main(arguments: list[str] | None = None) -> int:
    """Print the rates with their 95 % intervals; 0 if they are what the package's docstring says, else 1."""
    parser = argparse.ArgumentParser(prog="python -m mechinterp_course.worlds.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many for each family (default 100)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="may be repeated (default all)")
    parser.add_argument("--method", choices=METHODS, action="append", help="may be repeated (default all)")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds is at least 1")
    seeds = range(options.first, options.first + options.seeds)
    runs = [(f, m) for f in options.family or FAMILIES for m in options.method or METHODS]
    as_claimed = True
    with Progress(disable=not sys.stdout.isatty()) as progress:
        for family, method in runs:
            task = progress.add_task(f"{family}, {method}", total=len(seeds))
            for rate in survey(family, method, seeds, lambda task=task: progress.advance(task)):
                as_claimed &= holds(rate)
                progress.console.print(line(rate), highlight=False, soft_wrap=True)
    return 0 if as_claimed else 1


def holds(rate: Rate) -> bool:
    """Whether interventions always hit, and attention patterns no more often than chance allows."""
    if rate.method == "interventions":
        return rate.hits == rate.seeds
    return rate.method != "attention patterns" or rate.interval[0] <= rate.chance


def line(rate: Rate) -> str:
    """One line of the table: `pair  weights  copying  51 of 100  0.41 to 0.61  (chance 0.25)`."""
    low, high = rate.interval
    return (
        f"{rate.family:8}{rate.method:20}{rate.role:10}{rate.hits:4} of {rate.seeds}"
        f"   95 % interval {low:.2f} to {high:.2f}   (chance among look-alikes {rate.chance:.2f})"
        + ("" if holds(rate) else "   NOT AS CLAIMED")
    )


if __name__ == "__main__":
    sys.exit(main())
