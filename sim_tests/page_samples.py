"""Page contents made by hand, for the tests of the page: small, large, and as nasty as a user's names can be."""

from __future__ import annotations

import math

import numpy as np

from decolle_hw.page.content import (
    RESOURCES,
    AccuracyStage,
    CoreUse,
    Costs,
    Figure,
    LayerCost,
    LimitLine,
    PageContent,
    PlacementFigures,
    PopulationUse,
    Problem,
    Raster,
    Rate,
    Weights,
)

LIMITS = dict(zip(RESOURCES, (8192, 1_048_576, 4096, 4096), strict=True))
ENERGY_LABEL = "Loihi 1, pre-silicon (Davies et al. 2018), an upper-side estimate for Loihi 2"
KINDS = ("synaptic operations", "neuron updates, active", "neuron updates, idle", "spike messages", "hops")


def placed(layers: list[tuple[str, tuple[int, ...], int]], usable: int = 120, over: bool = False) -> PlacementFigures:
    """Cores of layers (name, shape, how many cores), dealt out tile by tile; use is drawn from the core's number."""
    cores: list[CoreUse] = []
    for name, shape, count in layers:
        share = math.prod(shape) // count
        for part in range(count):
            index = len(cores)
            tile = index % usable // 4
            draw = 0.25 + 0.75 * ((7 * index + 3 * len(name)) % 11) / 11
            memory = int(1_048_576 * (1.4 if over and part == 0 else draw))
            cores.append(CoreUse(
                index, index // usable, tile % 8, tile // 8, name, share, memory, int(4096 * draw * draw),
                int(4096 * (1 - draw)), f"channels {part}-{part + 1}", 1234.5 * draw,
            ))  # fmt: skip
    populations = tuple(
        PopulationUse(name, shape, "decolle", "hidden", 1000 * count, "shared", count, "synaptic memory")
        for name, shape, count in layers
    )
    chips = -(-len(cores) // usable)
    return PlacementFigures(tuple(cores), populations, LIMITS, usable_cores=usable, board="Kapoho Point",
                            board_chips=max(chips, 8), traffic=(Figure("messages between chips", 12.5, "per step"),),
                            notes=("layers do not share cores",))  # fmt: skip


def full(name: str, layers: list[tuple[str, tuple[int, ...], int]], steps: int = 60, **fields: object) -> PageContent:
    """Every section filled for the given layers."""
    rng = np.random.default_rng(1)
    names = [layer for layer, _, _ in layers]
    weights = [rng.normal(0, 0.1, 4000) for _ in names]
    content = PageContent(
        name=name,
        target="loihi2",
        placement=placed(layers),
        target_description="Intel Loihi 2 (2021)",
        rasters=tuple(
            Raster(layer, rng.random((steps, min(math.prod(shape), 2000))) < 0.02 * (index + 1))
            for index, (layer, shape, _) in enumerate(layers)
        ),
        raster_of="test recording 12, class 'seven'",
        rates=tuple(Rate(layer, 0.02 * (i + 1), 0.021 * (i + 1)) for i, layer in enumerate(names)),
        weights=tuple(
            Weights(layer, np.round(w / 0.004) * 0.004, 0.004, w, 8, 0.0123)
            for layer, w in zip(names, weights, strict=True)
        ),
        accuracy=(
            AccuracyStage("float network", 353, 360),
            AccuracyStage("quantized weights, float dynamics", 352, 360),
            AccuracyStage("integer reference", 351, 360),
            AccuracyStage("Lava CPU simulator", 98, 100),
        ),
        costs=Costs(
            layers=tuple(
                LayerCost(layer, 1e4 * (i + 1), 500.5, 12.25, 40 * i,
                          dict(zip(KINDS, (2e5 * (i + 1), 4e4, 3e4, 1e3, 2e3), strict=True)))
                for i, layer in enumerate(names)
            ),
            energy_label=ENERGY_LABEL,
            time=(
                Figure("time step", 12_400.0, "ns", "busiest core and barrier"),
                Figure("throughput", 80_600.0, "steps/s"),
                Figure("limited by", "core 2"),
            ),
            neurobench=(
                Figure("footprint", 123_456, "bytes", "parameters and buffers"),
                Figure("connection_sparsity", 0.123),
                Figure("activation_sparsity", 0.98),
                Figure("synaptic_operations: Effective_ACs", 1.2e6, "per recording"),
            ),
            not_modelled=("what a core waits for messages", "messages between chips are counted, not priced"),
            measured_on="100 test recordings of 60 steps",
        ),
        limits=tuple(
            LimitLine(f"limit_{i}", str(2**i), "WikiChip; nengo-loihi, block.py", confidence, "sources conflict")
            for i, confidence in enumerate(("published", "derived", "secondary", "assumed"))
        ),
        warnings=("layer 1: register u reaches 98 % of its limit on calibration recordings",),
        notes=("the host computes the readouts",),
        made=(
            Figure("command", f"decolle-hw compile runs/{name}/20260101-120000 --target loihi2 -o {name}.net"),
            Figure("version", "0.1.0"),
            Figure("SHA-256 of the checkpoint", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
        ),
    )  # fmt: skip
    values = {**{name: getattr(content, name) for name in content.__dataclass_fields__}, **fields}
    return PageContent(**values)  # type: ignore[arg-type]


def small() -> PageContent:
    """Two layers, three cores, one chip."""
    return full("digits", [("dense0", (512, 1, 1), 2), ("dense1", (100, 1, 1), 1)])


def large() -> PageContent:
    """Nine populations, 300 cores, three chips, long recordings."""
    layers = [
        ("conv0", (64, 32, 32), 60), ("pool0", (64, 16, 16), 20), ("conv1", (128, 16, 16), 80),
        ("pool1", (128, 16, 16), 20), ("conv2", (128, 16, 16), 80), ("pool2", (128, 8, 8), 10),
        ("dense3", (1000, 1, 1), 20), ("readout3", (11, 1, 1), 5), ("error3", (11, 1, 1), 5),
    ]  # fmt: skip
    return full("dvs-gesture-paper", layers, steps=1800)


def crowded() -> PageContent:
    """Twelve layers on 5,000 cores of 42 chips, two of them unequal, one problem."""
    layers = [(f"layer_with_a_long_name_{i}", (4096, 4, 4), 416) for i in range(11)] + [("last", (4096, 2, 2), 424)]
    content = full("crowded", layers, steps=40, problems=(
        Problem("network", "chips for its cores", "42", "at most 8 (Kapoho Point)", "use fewer units"),
    ))  # fmt: skip
    return content


HOSTILE = "<script>window.owned=1</script>\"'>&<img src=x onerror=window.owned=1>"


def hostile() -> PageContent:
    """Markup, quotes, control and turning characters, wide and right-to-left scripts, huge and strange numbers."""
    names = [HOSTILE, "手書き数字の畳み込み層その一", "\u202eshalom שלום \x1b[31m\x00 \udcff", "A" * 300]
    layers = [(name, (8, 2, 2), 1) for name in names]
    content = full(HOSTILE, layers)
    many = 10**30
    return full(
        HOSTILE, layers, target=HOSTILE, target_description=HOSTILE, placement=placed(layers, over=True),
        problems=tuple(Problem(HOSTILE, name, str(many), "at most 1", HOSTILE) for name in names),
        rates=tuple(Rate(name, float(i), None) for i, name in enumerate(names)),
        weights=(
            Weights(HOSTILE, np.array([0.0, 1e300, -1e300, np.inf, np.nan]), 1.0),
            Weights("all zero", np.zeros(10), 0.0, np.zeros(10)),
            Weights("one spike of zeros", np.concatenate([np.zeros(100_000), np.arange(50) / 10]), 0.1),
        ),
        rasters=(Raster("silent", np.zeros((5, 3))), Raster("always", np.ones((2000, 500))), Raster("one", np.eye(1))),
        accuracy=(AccuracyStage(HOSTILE, 0, 1), AccuracyStage("all right", many, many)),
        costs=Costs(
            tuple(LayerCost(name, many, float("inf"), float("nan"), 0, {HOSTILE: 1e40, "b": 1e-40}) for name in names),
            HOSTILE, Figure("static power", None, "mW", HOSTILE), (Figure(HOSTILE, many, HOSTILE),),
        ),
        limits=(LimitLine(HOSTILE, HOSTILE, HOSTILE + "https://example.org/" + "x" * 200, HOSTILE, HOSTILE),),
        warnings=(HOSTILE,), notes=(HOSTILE, *content.notes), made=(Figure(HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        raster_of=HOSTILE,
    )  # fmt: skip


def bare() -> PageContent:
    """What every page has and nothing else."""
    return PageContent("bare", "loihi1", placed([("dense0", (10, 1, 1), 1)]))
