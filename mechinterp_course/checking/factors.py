"""What a constant factor between the answer and the expected value usually comes from."""

import math

LARGEST_COUNT = 128  # beyond it neighbouring ratios n/(n+1) can't be told apart


def meaning_of(ratio: float, sizes: dict[str, int]) -> str:
    """Return the end of a sentence about `ratio` = answer / expected, empty if the factor is no known one.

    `sizes`: the size of each named axis.
    """
    sizes = {name: size for name, size in sizes.items() if size > 1}
    return (
        logarithm_base(ratio)
        or size_of_axis(ratio, sizes)
        or root_of_axis(ratio, sizes)
        or neighbouring_counts(ratio)
        or whole_number(ratio)
    )


def logarithm_base(ratio: float) -> str:
    """The change of logarithm that the factor amounts to."""
    for base in (2, 10):
        if near(ratio, 1 / math.log(base)):
            return f": a logarithm to base {base} where the natural one was asked (1/ln {base})"
        if near(ratio, math.log(base)):
            return f": a natural logarithm where one to base {base} was asked (ln {base})"
    return ""


def size_of_axis(ratio: float, sizes: dict[str, int]) -> str:
    """A sum for a mean, or the reverse, over a named axis."""
    for name, size in sizes.items():
        if near(ratio, size):
            return f", the size of `{name}`: as when a sum over it stands where a mean was asked"
        if near(ratio, 1 / size):
            return f", 1 over the size of `{name}`: as when a mean over it stands where a sum was asked"
    return ""


def root_of_axis(ratio: float, sizes: dict[str, int]) -> str:
    """The scaling of dot products over a width such as `d_head`."""
    widths = {name: size for name, size in sizes.items() if name.startswith("d_")}
    for name, size in widths.items():
        if near(ratio, math.sqrt(size)):
            return f", the square root of the size of `{name}`"
        if near(ratio, 1 / math.sqrt(size)):
            return f", 1 over the square root of the size of `{name}`"
    return ""


def neighbouring_counts(ratio: float) -> str:
    """A mean that divides by one entry too many or too few."""
    for divisor in range(2, LARGEST_COUNT):
        for asked in (divisor - 1, divisor + 1):
            if asked > 1 and near(ratio, asked / divisor):
                return f": as when a mean divides by {divisor} where there are {asked} entries"
    return ""


def whole_number(ratio: float) -> str:
    """A sum over some number of entries that no named axis has."""
    if ratio > 2.5 and near(ratio, round(ratio)):
        return f": as when a sum over {round(ratio)} entries stands where a mean was asked"
    if 0 < ratio < 0.4 and near(1 / ratio, round(1 / ratio)):
        return f": as when a mean over {round(1 / ratio)} entries stands where a sum was asked"
    return ""


def near(value: float, known: float) -> bool:
    """Whether a measured factor is a known one."""
    return abs(value - known) <= 2e-5 * abs(known)
