"""How numbers are written for readers: measures as fractions, differences with a minus sign, dashes for none."""

import math

NOTHING = "–"


def fraction(value: float) -> str:
    """Three decimals without the leading zero.

    >>> fraction(0.7116), fraction(1.0)
    ('.712', '1.000')
    """
    return f"{value:.3f}".removeprefix("0") if value >= 0 else f"{value:.3f}"


def signed(value: float) -> str:
    """A difference: likewise, with a minus sign where it is negative.

    >>> signed(-0.0281), signed(0.015), signed(-0.0001)
    ('−.028', '.015', '.000')
    """
    return ("−" if round(value, 3) < 0 else "") + fraction(abs(value))


def plain(value: float, decimals: int) -> str:
    """A number for reading; a dash where it is missing."""
    return NOTHING if value is None or math.isnan(value) else f"{value:,.{decimals}f}"
