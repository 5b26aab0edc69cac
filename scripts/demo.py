"""Train a quick style and paint a photo with it, offline: what ``make demo`` runs.

Environment:
    PHOTO: What to paint; an astronaut from scikit-image by default.
    STYLE_IMAGE: What to learn from, a path or URL; the style card of The Starry Night by default.
    DEMO_OPTIONS: More options of train.py, such as ``trainer.max_steps=300``.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import skimage

ROOT = Path(__file__).parents[1]
FOLDER = Path("demo")


def run(script: str, *arguments: str) -> None:
    """Show a command and run it; end with its exit code if it fails."""
    print(f"\n$ python {shlex.join([script, *arguments])}", flush=True)
    code = subprocess.run([sys.executable, ROOT / script, *arguments], check=False).returncode
    if code:
        sys.exit(code)


def quoted(value: str) -> str:
    """Quote a value, which may be a path with spaces or commas, for Hydra."""
    escaped = value.replace("'", r"\'")
    return f"'{escaped}'"


def main() -> None:
    """Train, paint, and say where everything is."""
    photo = os.environ.get("PHOTO") or str(Path(skimage.__file__).parent / "data" / "astronaut.png")
    painting = os.environ.get("STYLE_IMAGE")
    if painting:
        overrides = ["style=image", f"style.image={quoted(painting)}", "style.name=demo"]
    else:
        overrides = ["style=starry_night"]
    overrides += shlex.split(os.environ.get("DEMO_OPTIONS", ""))
    runs = FOLDER / "runs"
    started = time.time()
    run("train.py", "experiment=quick", "data=sample", f"run_folder={runs}", *overrides)
    newest = max(runs.glob("*/*/network.safetensors"), key=lambda path: path.stat().st_mtime)
    painted = FOLDER / "painted.png"
    run("infer.py", f"ckpt={newest}", f"input={photo}", f"output={painted}")
    print(
        f"\nDone in {time.time() - started:.0f} seconds.\n"
        f"  picture      {painted}\n"
        f"  checkpoint   {newest}\n"
        f"  TensorBoard  tensorboard --logdir {runs}"
    )


if __name__ == "__main__":
    main()
