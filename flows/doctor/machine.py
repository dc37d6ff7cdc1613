"""Device, disk and file system."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.check import Check
from stages.disk.root import store_root
from stages.params.record import Params


def device(params: Params) -> Iterator[Check]:
    """Compare resources.device with the devices of this machine."""
    import torch

    cuda = torch.cuda.is_available()
    if not cuda and params.resources.device == "cuda":
        built = (
            f"torch {torch.__version__} is built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else (f"torch {torch.__version__} is built without CUDA")
        )
        remedy = "Install a torch with CUDA and a driver for it, or set resources.device to auto or cpu."
        yield Check("device", "fault", f"resources.device is cuda, got no CUDA device: {built}", remedy)
        return
    if not cuda:
        yield Check("device", "ok", f"CPU, {os.cpu_count()} cores, torch {torch.__version__}")
        return
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        yield Check("device", "ok", f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB, torch {torch.__version__}")


def disk(params: Params) -> Iterator[Check]:
    """Check that the store can be written to, has free space, and has hard links."""
    folder = store_root().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="doctor-", dir=folder) as name:
            yield from _links(Path(name))
    except OSError as error:
        yield Check(
            "store", "fault", f"{folder} cannot be written to: {error}", "Set G2RPO_HOME to a folder that you own."
        )
        return
    free, least = shutil.disk_usage(folder).free / 1e9, params.guards.disk.free_gb
    if free < least:
        remedy = "Make room, for example with `g2rpo prune`, or move the store with G2RPO_HOME."
        yield Check("disk", "fault", f"{free:.1f} GB are free for {folder}, guards.disk requires {least:g}", remedy)
    else:
        yield Check("disk", "ok", f"{free:.0f} GB are free for {folder}")


def _links(folder: Path) -> Iterator[Check]:
    (folder / "one").write_text("1", encoding="utf-8")
    try:
        os.link(folder / "one", folder / "two")
    except OSError:
        remedy = "Runs work, but take twice the space. A local disk has hard links."
        yield Check("links", "warn", f"{folder.parent} has no hard links: exports and rollbacks are copies", remedy)
    else:
        yield Check("store", "ok", f"{folder.parent} can be written to and has hard links")
