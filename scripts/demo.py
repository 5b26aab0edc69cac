"""Train a quick style and paint a photo with it: what ``make demo`` runs.

Environment:
    PHOTO: What to paint; an astronaut from scikit-image by default.
    STYLE_IMAGE: What to learn from; a texture with the strokes of The Starry Night by default.
    VGG_WEIGHTS: A file with VGG-19's weights; downloaded once by default.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import skimage

FOLDER = Path("demo")


def run(*arguments: str) -> None:
    """Show a command and run it; end with its exit code if it fails."""
    print(f"\n$ python {shlex.join(arguments)}", flush=True)
    code = subprocess.run([sys.executable, *arguments], check=False).returncode
    if code:
        sys.exit(code)


def main() -> None:
    """Train, paint, and say where everything is."""
    photo = os.environ.get("PHOTO") or str(Path(skimage.__file__).parent / "data" / "astronaut.png")
    overrides = [f"loss_network.weights={os.environ.get('VGG_WEIGHTS') or 'hub'}"]
    if "STYLE_IMAGE" in os.environ:
        overrides += ["style=image", f"style.image={os.environ['STYLE_IMAGE']}", "style.name=demo"]
    else:
        overrides += ["style=starry_night"]
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
