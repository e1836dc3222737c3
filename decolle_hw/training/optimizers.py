"""Optimizers and schedules of torch by name, checked before data are read.

The authors' training is Adamax with betas (0, 0.95), and a learning rate divided by 5 * floor(epoch / 30) from epoch
30 on. Any other optimizer of `torch.optim`, and any schedule of `torch.optim.lr_scheduler` that can be stepped once an
epoch, is chosen by name in the description. Source: decolle-public (parameter files, lenet_decolle scripts).
"""

# L layers

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import Optimizer, lr_scheduler

from decolle_hw.errors import SpecError, UsageError
from decolle_hw.nn.adamax import CompiledAdamax
from decolle_hw.nn.network import DecolleNetwork
from decolle_hw.section import per_layer
from decolle_hw.spec_training import TrainingSpec
from decolle_hw.training.by_name import as_spec_error, check_arguments, find_class, public_subclasses
from decolle_hw.training.optimizer_state import load_optimizer_state, optimizer_state

__all__ = [
    "Schedule",
    "build_optimizer",
    "check_training",
    "clip_gradients",
    "decolle_rate",
    "load_optimizer_state",
    "optimizer_state",
]

REFUSED_OPTIMIZERS = {
    "LBFGS": "evaluates the loss several times per update; the local rule has no loss to call again",
    "SparseAdam": "takes sparse gradients; those of a layer are dense",
}
REFUSED_SCHEDULES = {
    "ReduceLROnPlateau": "follows a metric; a schedule is stepped by the number of the epoch alone",
    "LambdaLR": "takes a function, which YAML cannot hold",
    "MultiplicativeLR": "takes a function, which YAML cannot hold",
    "SequentialLR": "takes other schedules; give one, for example OneCycleLR or CosineAnnealingWarmRestarts",
    "ChainedScheduler": "takes other schedules; give one, for example OneCycleLR or CosineAnnealingWarmRestarts",
}
CYCLED = ("lr", "momentum", "betas")  # what schedules write into parameter groups
BUILT_IN_SCHEDULES = ("constant", "decolle")
CHECKED_EPOCHS = 10_000  # a schedule takes 10 us per epoch


def build_optimizer(network: DecolleNetwork, spec: TrainingSpec, device: torch.device) -> Optimizer:
    """The optimizer that `training` describes, with one parameter group per layer: [weight, bias], or [weight].

    Adamax on a CPU is `decolle_hw.nn.adamax.CompiledAdamax` where the arguments allow it.

    Args:
        network: on `device` already. spec: names and arguments. device: where updates are made.

    Raises `SpecError` that names the key of `training`.
    """
    groups = [[layer.weight, layer.bias] if layer.has_bias else [layer.weight] for layer in network.layers]
    chosen = _find_optimizer(spec)
    plain = not any(spec.optimizer_args.get(key) for key in ("weight_decay", "maximize", "foreach"))
    if chosen is torch.optim.Adamax and device.type == "cpu" and plain:
        parameters = [parameter for group in groups for parameter in group]
        if all(parameter.dtype == torch.float32 for parameter in parameters):
            chosen = CompiledAdamax
    return _construct(chosen, groups, spec)


def check_training(spec: TrainingSpec, layers: int, device: torch.device | None = None) -> None:
    """Try optimizer and schedule out on two small parameters per layer: one update, then all epochs.

    Args:
        spec: of the training. layers: L. device: where it will run (an argument such as `fused` may depend on it);
            default: the CPU.

    Raises `SpecError` that names the key of `training` and the value.
    """
    if spec.method == "bptt" and spec.precision != "float32":
        raise SpecError(f"training.precision {spec.precision}: method bptt computes in float32; use method decolle")
    device = device or torch.device("cpu")
    groups = [[_dummy((2, 3), device), _dummy((2,), device)] for _ in range(layers)]
    optimizer = _construct(_find_optimizer(spec), groups, spec)
    for parameter in (parameter for group in groups for parameter in group):
        parameter.grad = torch.full_like(parameter, 0.25)
    with as_spec_error(f"training.optimizer {spec.optimizer}, training.optimizer_args {spec.optimizer_args}"):
        optimizer.step()
    schedule = Schedule(optimizer, spec)
    for epoch in range(min(spec.num_epochs, CHECKED_EPOCHS)):
        schedule.start_epoch(epoch)


def clip_gradients(network: DecolleNetwork, max_norm: float) -> None:
    """Scale the gradients of each layer so that their norm, over weight and bias together, is `max_norm` at most."""
    for layer in network.layers:
        torch.nn.utils.clip_grad_norm_([layer.weight, layer.bias], max_norm)


def decolle_rate(rate: float, spec: TrainingSpec, epoch: int) -> float:
    """The authors' schedule: from epoch `lr_drop_interval` on, divided by ``factor * floor(epoch / interval)``."""
    drops = epoch // spec.lr_drop_interval
    return rate if drops == 0 else rate / (spec.lr_drop_factor * drops)


class Schedule:
    """Learning rate of each layer in each epoch (and momentum or betas, where the schedule cycles them).

    Schedules of torch are recursions over epochs. One runs here beside the optimizer, on groups of its own, and its
    values are copied: they are a function of the epoch alone, so that an epoch of a resumed run has exactly the
    values of an unbroken one.
    """

    def __init__(self, optimizer: Optimizer, spec: TrainingSpec) -> None:
        self._optimizer = optimizer
        self._spec = spec
        self._kind = _find_schedule(spec)
        rates = _rates(spec, len(optimizer.param_groups))
        self._begin = [
            {key: value for key, value in {**group, "lr": rate}.items() if key not in ("params", "initial_lr")}
            for group, rate in zip(optimizer.param_groups, rates, strict=True)
        ]
        self._epoch = -1  # none started
        self._stepped = 0
        self._twin: Optimizer | None = None
        self._scheduler: lr_scheduler.LRScheduler | None = None

    def start_epoch(self, epoch: int) -> None:
        """Set the values of an epoch, counted from 0; `SpecError` where the schedule gives none that can be used."""
        if self._kind is None:
            decays = self._spec.schedule.lower() == "decolle"
            rates = [group["lr"] for group in self._begin]
            values = [{"lr": decolle_rate(rate, self._spec, epoch) if decays else rate} for rate in rates]
        else:
            with as_spec_error(f"training.schedule {self._spec.schedule}, epoch {epoch + 1}"):
                values = self._stepped_to(epoch)
        for index, (group, new) in enumerate(zip(self._optimizer.param_groups, values, strict=True)):
            if not 0.0 <= new["lr"] < math.inf:
                raise SpecError(
                    f"training.schedule {self._spec.schedule} with training.schedule_args {self._spec.schedule_args}: "
                    f"the learning rate of layer {index} is {new['lr']} in epoch {epoch + 1}; it must be 0 or more"
                )
            group.update(new)
        self._epoch = epoch

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Epoch started last (-1: none), and learning rates (L,) that it has."""
        rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        return {"epoch": torch.tensor(self._epoch), "lr": torch.tensor(rates, dtype=torch.float64)}

    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Go on after a saved epoch; `UsageError` where its learning rates are not those that this schedule gives."""
        missing = {"epoch", "lr"} - tensors.keys()
        if missing:
            raise UsageError(f"state of the schedule: {min(missing)} is missing: it is damaged; train again")
        epoch = int(tensors["epoch"])
        if epoch < 0:
            return
        self.start_epoch(epoch)
        saved, now = (state["lr"].tolist() for state in (tensors, self.state_dict()))
        if saved != now:
            raise UsageError(
                f"state of the schedule: epoch {epoch + 1} was trained with learning rates {saved}, the description "
                f"gives {now}; resume with training.schedule, schedule_args and learning_rate as they were"
            )

    def _stepped_to(self, epoch: int) -> list[dict[str, Any]]:
        """Values of torch's schedule, stepped from the beginning or from where it stands."""
        assert self._kind is not None
        if self._scheduler is None or self._twin is None or epoch < self._stepped:
            options = [
                {**group, "params": [Parameter(torch.zeros(1, 1), requires_grad=False)]} for group in self._begin
            ]
            # Of the same class: some schedules ask an optimizer whether it has a momentum.
            self._twin = type(self._optimizer)(options, lr=self._begin[0]["lr"])  # type: ignore[call-arg]
            self._scheduler = self._kind(self._twin, **self._spec.schedule_args)
            self._stepped = 0
        while self._stepped < epoch:
            self._twin.step()  # without gradients it does nothing, but torch warns of a schedule without it
            self._scheduler.step()
            self._stepped += 1
        return [{key: group[key] for key in CYCLED if key in group} for group in self._twin.param_groups]


def _dummy(shape: tuple[int, ...], device: torch.device) -> Parameter:
    return Parameter(torch.full(shape, 0.5, device=device), requires_grad=False)


def _rates(spec: TrainingSpec, layers: int) -> list[float]:
    try:
        return [float(rate) for rate in per_layer(spec.learning_rate, layers, "training.learning_rate")]
    except ValueError as error:
        raise SpecError(str(error)) from None


def _find_optimizer(spec: TrainingSpec) -> type[Optimizer]:
    return find_class(
        "training.optimizer", spec.optimizer, public_subclasses(torch.optim, Optimizer), REFUSED_OPTIMIZERS
    )


def _find_schedule(spec: TrainingSpec) -> type[lr_scheduler.LRScheduler] | None:
    """The class of torch, its arguments checked; None for `decolle` and `constant`."""
    if spec.schedule.lower() in BUILT_IN_SCHEDULES:
        if spec.schedule_args:
            raise SpecError(
                f"training.schedule_args.{min(spec.schedule_args)}: schedule {spec.schedule} takes no arguments"
                + (" (it follows lr_drop_interval and lr_drop_factor)" if spec.schedule.lower() == "decolle" else "")
            )
        return None
    classes = public_subclasses(lr_scheduler, lr_scheduler.LRScheduler)
    chosen = find_class("training.schedule", spec.schedule, classes, REFUSED_SCHEDULES, BUILT_IN_SCHEDULES)
    check_arguments("training.schedule_args", spec.schedule_args, chosen)
    return chosen


def _construct(chosen: type[Optimizer], groups: list[list[Parameter]], spec: TrainingSpec) -> Optimizer:
    """The optimizer on groups of parameters, one per layer."""
    rates = _rates(spec, len(groups))
    check_arguments("training.optimizer_args", spec.optimizer_args, chosen)
    arguments: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in spec.optimizer_args.items()
    }
    if "betas" in inspect.signature(chosen).parameters:
        if spec.betas is not None:
            arguments["betas"] = tuple(spec.betas)
    elif spec.betas is not None and list(spec.betas) != TrainingSpec().betas:
        # The default is no wish: the description inside of a run spells it out.
        raise SpecError(f"training.betas {spec.betas}: {spec.optimizer} has no betas; leave them out or set null")
    options = [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    with as_spec_error(f"training.optimizer {spec.optimizer}, training.optimizer_args {spec.optimizer_args}"):
        return chosen(options, lr=rates[0], **arguments)  # type: ignore[call-arg]
