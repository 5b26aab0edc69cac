"""Who may import whom: the arrows of the design point down."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "impasto"
OURS = {
    "files": set(),
    "precision": set(),
    "memory": set(),
    "download": set(),
    "container": {"files"},
    "settings": {"download", "precision"},
    "pictures": {"files"},
    "images": {"files", "pictures"},
    "networks": set(),
    "loss_networks": set(),
    "losses": {"loss_networks", "metrics"},
    "cards": {"container", "images", "loss_networks", "losses"},
    "styles": {"cards", "download", "images", "loss_networks", "losses"},
    "features": {"loss_networks", "losses"},
    "minimizers": set(),
    "optimization": {"losses", "minimizers"},
    "masks": {"images"},
    "metrics": set(),
    "data": {"files", "images", "masks", "pictures"},
    "checkpoint": {"container", "networks"},
    "compilation": set(),
    "schedule": set(),
    "tasks": {"compilation", "networks", "losses", "metrics", "schedule"},
    "callbacks": {"images", "checkpoint"},
    "watchdog": set(),
    "resumption": {"files"},
    "recipes": {"cards", "checkpoint", "losses", "networks", "settings", "styles", "tasks"},
    "training": {
        "callbacks",
        "checkpoint",
        "files",
        "memory",
        "recipes",
        "resumption",
        "settings",
        "tasks",
        "watchdog",
    },
    "inference": {
        "checkpoint",
        "container",
        "images",
        "interrupts",
        "masks",
        "networks",
        "pictures",
        "precision",
    },
    "animations": {"pictures"},
    "interrupts": set(),
    "manifest": set(),
    "jobs": {"animations", "images", "inference", "manifest"},
    "filling": {"animations", "huge", "images", "inference", "manifest", "masks", "pictures"},
    "arguments": set(),
    "options": {"arguments", "images", "inference", "jobs"},
    "huge": {"images", "inference", "pictures"},
    "painting": {
        "animations",
        "filling",
        "huge",
        "images",
        "inference",
        "interrupts",
        "jobs",
        "manifest",
    },
    "cli": {
        "filling",
        "inference",
        "jobs",
        "manifest",
        "memory",
        "options",
        "painting",
        "precision",
    },
    "__init__": {"inference", "images"},
}
LIGHTNING = {
    "data/module.py",
    "tasks",
    "callbacks.py",
    "watchdog.py",
    "resumption.py",
    "training.py",
}
HYDRA = {"recipes.py", "training.py"}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    part = part_of(path)
    used = {name.split(".")[1] for name in imported(path) if name.startswith("impasto.")}
    assert used - {part} <= OURS[part], f"{part} must not import these"
    relative = str(path.relative_to(PACKAGE))
    packages = {name.split(".")[0] for name in imported(path)}
    if relative not in LIGHTNING and part not in LIGHTNING:
        assert not packages & {"pytorch_lightning", "lightning", "lightning_fabric"}
    if relative not in HYDRA:
        assert "hydra" not in packages


def test_using_a_network_loads_nothing_of_training() -> None:
    code = (
        "import sys, impasto, impasto.inference, impasto.cli;"
        "heavy = {'pytorch_lightning', 'hydra', 'tensorboard', 'impasto.losses', 'impasto.data',"
        "'onnx', 'onnxruntime', 'av', 'pyvips'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
