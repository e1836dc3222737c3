"""A synaptic learning rule in the terms of Loihi's learning engine, as Lava 0.10.0 simulates it in fixed point.

A rule is a sum of products. In every learning epoch, each synapse computes::

    acc = w << 7
    for each product:
        p   = D * factor * factor * ... * mantissa
        p   = (p >> max(0, bits - 15)) << (exponent + 7)       # bits: of its factors and the mantissa; >> rounds down
        acc = clip16(acc + clip16(p))
    w = clip9(stochastic_round(acc / 128))

D is the dependency: x0 or y0 (the neuron before, or behind, spiked in the epoch), or u_k (every 2**k-th epoch).

================  ====================================  ===========================================
constant          value                                 read from
================  ====================================  ===========================================
TRACE_BITS        7: x1, x2, y1, y2, unsigned           lava.magma.core.learning.constants (W_TRACE)
FACTOR_BITS       7 a trace, 1 a spike, 9 the weight    constants (FACTOR_TO_WIDTH_DICT)
MANTISSA_BITS     4                                     constants (W_S_MANT)
ACCUMULATOR_BITS  15 and a sign                         constants (W_ACCUMULATOR_U)
EXPONENT_*        -7..8                                 product_series (_generate_product)
EPOCH_MAX         6 bit                                 constants (W_EPOCH_TIME)
IMPULSE_PARTS     1/256                                 constants (W_TRACE_FRACTIONAL_PART)
MOST_PRODUCTS     16: no limit is published and Lava    ours
                  has none; silicon stores a rule in
                  a microcode memory of fixed size
================  ====================================  ===========================================
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from decolle_hw.errors import CompileError, listed

TRACE_BITS = 7
TRACE_MAX = (1 << TRACE_BITS) - 1
LEARNED_WEIGHT_MIN, LEARNED_WEIGHT_MAX = -256, 255  # of mixed signs once it learns: odd ones too
MANTISSA_BITS = 4
MANTISSA_MAX = 7  # Lava writes a mantissa of -8 as -4 with the next exponent: two names for one would round differently
ACCUMULATOR_BITS = 15
WEIGHT_SHIFT = 7  # of the weight within the accumulator
EXPONENT_MIN, EXPONENT_MAX = -7, 8
CONSTANT_MIN, CONSTANT_MAX = -128, 127
EPOCH_MAX = 63
IMPULSE_PARTS = 256
TAU_MAX = 65535
MOST_PRODUCTS = 16
# Of all factors of a product, so that it never leaves Lava's 32 bits: a bit of sign, and 4 of the mantissa.
MOST_FACTOR_BITS = 27

FactorName = Literal["x0", "y0", "x1", "x2", "y1", "y2", "w", "sgn(w)"]
FACTOR_BITS = {"x0": 1, "y0": 1, "x1": 7, "x2": 7, "y1": 7, "y2": 7, "w": 9, "sgn(w)": 9}


@dataclass(frozen=True)
class Factor:
    """``name + constant``, cut to the width of the name: -2**bits .. 2**bits - 1."""

    name: FactorName
    constant: int = 0

    @property
    def bits(self) -> int:
        return FACTOR_BITS[self.name]

    def __str__(self) -> str:
        """As Lava reads it."""
        if not self.constant:
            return self.name
        constant = f"+{self.constant}" if self.constant > 0 else str(self.constant)
        return f"sgn(w{constant})" if self.name == "sgn(w)" else f"({self.name}{constant})"


@dataclass(frozen=True)
class Product:
    """``mantissa * 2**exponent * dependency * factors``; see the module for what the engine makes of it."""

    dependency: str  # x0, y0, or u and a digit: u0 in every epoch, u3 in every eighth
    factors: tuple[Factor, ...]
    mantissa: int = 1
    exponent: int = 0

    @property
    def right_shift(self) -> int:
        """Bits that are cut off, rounding down, before the exponent applies."""
        return max(0, sum(factor.bits for factor in self.factors) + MANTISSA_BITS - ACCUMULATOR_BITS)

    @property
    def left_shift(self) -> int:
        return self.exponent - EXPONENT_MIN

    @property
    def gain(self) -> float:
        """Change of the weight in an epoch per unit of the product of its factors, without any rounding.

        Not the ``mantissa * 2**exponent`` that the rule says: the bits that are cut off are never given back.
        """
        return self.mantissa * 2.0 ** (self.left_shift - self.right_shift - WEIGHT_SHIFT)

    def __str__(self) -> str:
        """As Lava reads it, without a sign before it."""
        scale = f"{abs(self.mantissa)} * 2^{self.exponent}"
        return " * ".join([scale, self.dependency, *map(str, self.factors)])


@dataclass(frozen=True)
class Rule:
    """The change of a weight in an epoch, a sum of products, applied in this order."""

    products: tuple[Product, ...]

    @property
    def decimation(self) -> int:
        """k of u_k, which all such products share; 0 where there is none."""
        return max(
            (int(product.dependency[1:]) for product in self.products if product.dependency[0] == "u"), default=0
        )

    def __str__(self) -> str:
        """As Lava's `Loihi3FLearningRule` takes it for dw."""
        text = "".join(f" {'-' if product.mantissa < 0 else '+'} {product}" for product in self.products)
        return text.removeprefix(" + ").strip()

    def uses(self, name: str) -> bool:
        """Whether a factor of this name occurs."""
        return any(factor.name == name for product in self.products for factor in product.factors)

    @property
    def error_triggered(self) -> bool:
        """Whether no weight changes while there is no error: each product has y1 or y2 itself as a factor."""
        return all(
            any(factor.name in ("y1", "y2") and not factor.constant for factor in product.factors)
            for product in self.products
        )

    def problems(self) -> Iterator[str]:
        """Everything that the engine cannot do."""
        if not self.products:
            yield "rule: has no product; give at least one, as 2^-4 * u0 * x1 * y1"
        if len(self.products) > MOST_PRODUCTS:
            yield f"rule: has {len(self.products)} products, at most {MOST_PRODUCTS}; merge or leave out some"
        for number, product in enumerate(self.products):
            for problem in _problems(product):
                yield f"rule, product {number} ({product}): {problem}"
        decimations = {product.dependency for product in self.products if product.dependency[:1] == "u"}
        if len(decimations) > 1:
            yield f"rule: has {' and '.join(sorted(decimations))}; all such products of a rule share one number"

    def check(self) -> None:
        """Raise `CompileError` with all problems."""
        found = list(self.problems())
        if found:
            raise CompileError(listed("learning rule", found))


@dataclass(frozen=True)
class TraceFilter:
    """A trace of a spike train: it decays with time constant `tau` in steps, a spike adds `impulse`.

    Both are rounded stochastically. `tau` 0: nothing stays for the next step. Impulses come in parts of 1/256.
    """

    impulse: float = 0.0
    tau: float = 0.0

    def problems(self, name: str) -> Iterator[str]:
        limit = TRACE_MAX + 1 - 1 / IMPULSE_PARTS
        if not 0 <= self.impulse <= limit:
            yield f"{name}.impulse: {self.impulse}, expected 0..{TRACE_MAX} (a trace has {TRACE_BITS} bits)"
        elif self.impulse * IMPULSE_PARTS % 1:
            yield f"{name}.impulse: {self.impulse}, expected a multiple of 1/{IMPULSE_PARTS}"
        if not 0 <= self.tau <= TAU_MAX:
            yield f"{name}.tau: {self.tau}, expected 0..{TAU_MAX} steps"

    @property
    def parts(self) -> tuple[int, int]:
        """(whole, 1/256 parts) of the impulse."""
        return divmod(round(self.impulse * IMPULSE_PARTS), IMPULSE_PARTS)


def three_factor_rule(exponent: int, *, mantissa: int = 4, double_exponential: bool = False) -> Rule:
    """DECOLLE's rule: the error's positive part on y1 and its negative part on y2, times the trace of the input.

    ::

        dw = c u0 x1 y1 - c u0 x1 y2                                       c = mantissa * 2**exponent
        dw = c u0 x1 y1 - c u0 x2 y1 - c u0 x1 y2 + c u0 x2 y2             double_exponential: of x1 - x2

    A product of two traces loses 3 bits, rounding down, so that one with a minus sign loses up to a unit more than
    its twin: with a mantissa of 4 two of them are zeros already.
    """
    pairs: tuple[tuple[FactorName, FactorName, int], ...] = (
        ("x1", "y1", 1), ("x2", "y1", -1), ("x1", "y2", -1), ("x2", "y2", 1),
    )  # fmt: skip
    products = tuple(
        Product("u0", (Factor(x), Factor(y)), sign * mantissa, exponent)
        for x, y, sign in pairs
        if double_exponential or x == "x1"
    )  # fmt: skip
    rule = Rule(products)
    rule.check()
    return rule


def _problems(product: Product) -> Iterator[str]:
    name = product.dependency
    if name not in ("x0", "y0") and not (len(name) == 2 and name[0] == "u" and name[1].isdigit()):
        yield f"dependency {name!r}, expected x0, y0, or u and a digit, as u0"
    for factor in product.factors:
        if factor.name not in get_args(FactorName):
            known = ", ".join(get_args(FactorName))
            yield f"factor {factor.name!r}, expected one of {known} (tags, delays and y3 are not used here)"
            return
        if not CONSTANT_MIN <= factor.constant <= CONSTANT_MAX:
            yield f"constant {factor.constant}, expected {CONSTANT_MIN}..{CONSTANT_MAX}"
    bits = sum(factor.bits for factor in product.factors)
    if bits > MOST_FACTOR_BITS:
        yield f"factors of {bits} bits together, at most {MOST_FACTOR_BITS} (three traces); use fewer factors"
    if not 1 <= abs(product.mantissa) <= MANTISSA_MAX:
        yield f"mantissa {product.mantissa}, expected -{MANTISSA_MAX}..{MANTISSA_MAX} without 0"
    if not EXPONENT_MIN <= product.exponent <= EXPONENT_MAX:
        yield f"exponent {product.exponent}, expected {EXPONENT_MIN}..{EXPONENT_MAX}; scale traces or error instead"
