"""Numbers as a reader wants them, and words that fit into the room there is."""

from __future__ import annotations

import math
import unicodedata

NOT_KNOWN = "not known"
HUGE = 10**300  # integers beyond are not turned into floats
PREFIXES = {-5: "f", -4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}
SCALED_UNITS = {"J", "s", "W", "pJ", "nJ", "ns", "mW", "Hz"}  # units that take a prefix
BASE_OF = {"pJ": (1e-12, "J"), "nJ": (1e-9, "J"), "ns": (1e-9, "s"), "mW": (1e-3, "W")}
ELLIPSIS = "…"
# Widths in em, on the wide side of what common sans-serif fonts have (DejaVu Sans, Verdana).
NARROW, DIGIT, WIDE, SQUARE, LETTER = 0.4, 0.65, 1.0, 1.3, 0.65
NARROW_CHARACTERS = frozenset("iljtfrI.,:;'|!()[]/ ")
WIDE_CHARACTERS = frozenset("mwMWGOQ@%&—")
UPPER = 0.78
# What neither HTML nor a terminal can show: control characters but for tab and line end, and halves of surrogate pairs.
UNPRINTABLE = (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0xD800, 0xE000))
# They would turn the direction of the text that follows a name.
TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
REPLACED = dict.fromkeys((*UNPRINTABLE, *TURNING), "\ufffd")


def number(value: float | int | str | None) -> str:
    """Whole numbers with commas, others with four significant digits; words as they are."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, str | bool):
        return str(value)
    if abs(value) > HUGE and isinstance(value, int):
        return "over 10^300"
    if not math.isfinite(value):
        return NOT_KNOWN if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if abs(value) >= 10**15:
        return f"{float(value):.4g}"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def quantity(value: float | int | str | None, unit: str = "") -> str:
    """A number with its unit; energy, time and power with the prefix that leaves one to three digits before the point.

    `quantity(12345.6, "pJ") == "12.3 nJ"`, `quantity(1500, "messages") == "1,500 messages"`.
    """
    if value is None or isinstance(value, str) or abs(value) > HUGE or not math.isfinite(value):
        return number(value)
    if unit not in SCALED_UNITS:
        return f"{number(value)} {unit}".rstrip()
    factor, base = BASE_OF.get(unit, (1.0, unit))
    scaled = value * factor
    if scaled == 0:
        return f"0 {unit}"
    power = math.floor(math.log10(abs(scaled)) / 3)
    # 999.9 would be written as 1000 of the smaller unit.
    if round(abs(scaled) / 1000.0**power, 1) >= 1000:
        power += 1
    power = min(max(power, min(PREFIXES)), max(PREFIXES))
    digits = float(f"{scaled / 1000.0**power:.3g}")
    if not 0.001 <= abs(digits) < 10**4:
        return f"{scaled:.3g} {base}"
    return f"{number(digits)} {PREFIXES[power]}{base}"


def rounded(value: float | int | str | None) -> str:
    """As `number`, from a million on with three digits: 73.5 M."""
    if value is None or isinstance(value, str) or not 10**6 <= abs(value) < 10**15:
        return number(value)
    return quantity(value, "Hz").removesuffix("Hz")


def percent(share: float | None) -> str:
    """`12.3 %`; None and nan: not known."""
    if share is None or math.isnan(share):
        return NOT_KNOWN
    return f"{number(100 * share)} %" if abs(share) >= 100 else f"{100 * share:.1f} %"


def bits(value: int) -> str:
    """Memory in KiB, of ten MiB and more in MiB."""
    kibibytes = value / 8192
    return f"{kibibytes:,.1f} KiB" if kibibytes < 10 * 1024 else f"{kibibytes / 1024:,.1f} MiB"


def shortened(text: str, most: int = 40) -> str:
    """At most `most` characters: the middle is left out, as names often differ at their ends."""
    return text if len(text) <= most else text[: most // 2] + ELLIPSIS + text[len(text) - (most - 1) // 2 :]


def printable(text: str) -> str:
    """The text, each character that must not stand in a page replaced by U+FFFD."""
    return text.translate(REPLACED)


def text_width(text: str, size: float) -> float:
    """Estimated width, in units of the font size `size`; rather too much than too little."""
    return size * sum(map(_em, text))


def _em(character: str) -> float:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0.0
    if character in NARROW_CHARACTERS:
        return NARROW
    if unicodedata.east_asian_width(character) in "WF":
        return SQUARE
    if character in WIDE_CHARACTERS or ord(character) > 0x2FFF:
        return WIDE
    if character.isupper():
        return UPPER
    # Scripts whose letters are wider than Latin ones: Devanagari, Arabic presentation forms, and the like.
    return LETTER if ord(character) < 0x0590 else WIDE


def fit(text: str, width: float, size: float) -> str:
    """`text`, shortened where it is wider than `width`."""
    if text_width(text, size) <= width:
        return text
    for most in range(min(len(text), 1 + int(width / size / NARROW)) - 1, 1, -1):
        shorter = shortened(text, most)
        if text_width(shorter, size) <= width:
            return shorter
    return ELLIPSIS
