"""What `init` prints."""

from __future__ import annotations

import shlex

from rich.console import Console

from decolle_hw.described import MODEL_FILE
from decolle_hw.inspecting.found import shown
from decolle_hw.project.files import LABELS
from decolle_hw.project.init import Project

NAMED = 10  # classes in a line


def print_project(project: Project, console: Console) -> None:
    """What was found, what was written, and what to type next."""
    plan, spec = project.plan, project.spec.dataset
    console.print(f"{plan.name}: {plan.found}", style="bold", soft_wrap=True)
    names = ", ".join(map(shown, plan.classes[:NAMED])) + (" ..." if len(plan.classes) > NAMED else "")
    console.print(f"classes: {len(plan.classes)} ({names})", soft_wrap=True)
    if plan.sensor is not None:
        console.print(f"sensor_size: {list(plan.sensor)}, {plan.sensor_origin}", soft_wrap=True)
    sampled = f"windows of {plan.window // 1000} ms" if plan.window else "whole recordings"
    console.print(
        f"samples: {sampled}, {spec.chunk_size_train} steps of {spec.deltat / 1000:g} ms, "
        f"{'x'.join(map(str, spec.input_shape))} inputs", soft_wrap=True,
    )  # fmt: skip
    _print_broken(project, console)
    for path in project.written:
        console.print(f"wrote {shown(path)}", soft_wrap=True)
    if plan.own_classes:
        console.print(
            f"note: the recordings are not sorted, so each is a class of its own until you edit {LABELS}",
            soft_wrap=True,
        )
    console.print("next:")
    if project.folder.resolve() != project.folder.cwd():
        console.print(f"  cd {shlex.quote(shown(project.folder))}", soft_wrap=True)
    for command, meaning in (
        ("decolle-hw train", f"learns {MODEL_FILE}"),
        ("decolle-hw compile", "integers for Loihi 2"),
        ("decolle-hw run --sim", "in the Lava simulator"),
    ):
        console.print(f"  {command:<22}{meaning}", soft_wrap=True)


def _print_broken(project: Project, console: Console) -> None:
    found = project.inspection
    if found is not None and found.broken:
        share = f"{len(found.broken)} of {len(found.broken) + len(found.recordings)}"
        console.print(
            f"warning: {share} recordings cannot be read and are left out; `decolle-hw data inspect` lists them",
            soft_wrap=True,
        )
