"""Palettes that colour-blind eyes tell apart, on light and dark paper."""

from __future__ import annotations

from decolle_hw.palette import OKABE_ITO, ORANGE, SKY_BLUE, VERMILION

OVER = VERMILION  # above a limit
# Ten evenly spaced colours of matplotlib's cividis (Nuñez et al. 2018).
CIVIDIS = ("#00224E", "#123570", "#3B496C", "#575D6D", "#707173", "#8A8678", "#A59C74", "#C3B369", "#E1CC55", "#FEE838")
FLOAT_COLOUR, INTEGER_COLOUR = SKY_BLUE, ORANGE
PATTERNS = ("", "stripes", "dots")  # laid over the palette when it starts again


def category(index: int) -> tuple[str, str]:
    """Fill and pattern ("": none) of the index-th of many categories; repeats after 21."""
    rounds, colour = divmod(index, len(OKABE_ITO))
    return OKABE_ITO[colour], PATTERNS[rounds % len(PATTERNS)]


def cividis(share: float) -> str:
    """The colour of a share 0..1, linear between the tabulated ones."""
    position = min(max(share, 0.0), 1.0) * (len(CIVIDIS) - 1)
    low = min(int(position), len(CIVIDIS) - 2)
    part = position - low
    mixed = [round(a + (b - a) * part) for a, b in zip(_rgb(CIVIDIS[low]), _rgb(CIVIDIS[low + 1]), strict=True)]
    return "#" + "".join(f"{value:02X}" for value in mixed)


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour` (relative luminance, WCAG 2)."""
    linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in _rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if luminance > 0.179 else "#FFFFFF"


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
