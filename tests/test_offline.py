"""A run of the defaults opens no connection: all it needs comes with the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CAUGHT = 99

# Runs a script that ends at once, whatever it catches, when it calls for anyone.
WATCHED = f"""
import os, runpy, socket, sys

CALLS = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg")

def refuse(event, arguments):
    if event in CALLS and getattr(arguments[0], "family", None) != socket.AF_UNIX:
        os.write(2, f"{{event}} {{arguments}}".encode())
        os._exit({CAUGHT})

sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_watched(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-c", WATCHED, script, *arguments],
        cwd=ROOT,
        env={**environment, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "call",
    [
        "socket.socket().connect(('127.0.0.1', 9))",
        "socket.create_connection(('localhost', 9))",
        "socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('127.0.0.1', 9))",
    ],
)
def test_connections_are_caught(tmp_path: Path, call: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import socket\ntry:\n    {call}\nexcept BaseException:\n    pass\n")
    done = run_watched(str(script))
    assert done.returncode == CAUGHT
    assert "socket." in done.stderr


def test_watched_script_runs_as_ever(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1])\n")
    assert run_watched(str(script), "a=b").stdout == "__main__ a=b\n"


@pytest.mark.slow
def test_default_run_opens_no_connection(tmp_path: Path) -> None:
    size = ["experiment=quick", "trainer.max_steps=2", "data.crop_size=32", "data.num_workers=0"]
    done = run_watched("train.py", "style=starry_night", *size, f"run_folder={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("starry_night/*/network.safetensors"))) == 1
