"""Train a network: ``python train.py style=starry_night``; the README lists the options."""

import logging
import re
import signal
import sys
from pathlib import Path
from shlex import quote

handler = signal.getsignal(signal.SIGINT)
if handler is signal.default_int_handler:  # and not ignored, as in the background of a shell
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback amid the imports

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from impasto.checkpoint import Header
from impasto.training import Run, fit, prepare

signal.signal(signal.SIGINT, handler)

USER_ERRORS = (OSError, TypeError, ValueError, OmegaConfBaseException, InstantiationException)
DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130  # exit codes; of a signal 128 and its number


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    """Train what the config says; exit code 1 if it diverged, 2 if it cannot be, 130 by Ctrl-C.

    A sweep goes on when one of its trainings fails, and tells the first that did at its end.
    """
    code = _train(cfg)
    if code in (FAILED, MISUSED) and HydraConfig.get().mode is RunMode.MULTIRUN:
        raise RuntimeError("This training failed, see what it said above; the others did not stop.")
    if code:
        sys.exit(code)


def _train(cfg: DictConfig) -> int:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    try:
        run = prepare(cfg)
    except USER_ERRORS as error:
        print(f"train.py: {error.__cause__ or error}", file=sys.stderr)
        return MISUSED
    except KeyboardInterrupt:
        print("train.py: stopped before the first step.", file=sys.stderr)
        return INTERRUPTED
    _say(run, f"Training {run.cfg.name}. Watch it: tensorboard --logdir {run.cfg.run_folder}")
    try:
        outcome = fit(run)
    except OSError as error:  # a full disk, most often
        print(f"train.py: {error}. What is in {run.folder} is whole.", file=sys.stderr)
        return FAILED
    if outcome.failure:
        print(f"train.py: {outcome.failure}", file=sys.stderr)
        return FAILED
    if outcome.signal:
        _say(run, f"Stopped. Go on: python train.py {_for_hydra('resume', run.folder)}")
        return 128 + outcome.signal
    network = quote(f"ckpt={run.folder / 'network.safetensors'}")
    _say(run, f"Try it: python infer.py {network} input=photo.jpg{_what_else(run.header)}")
    return DONE


def _say(run: Run, text: str) -> None:
    """Print; of several processes one speaks for all."""
    if run.trainer.is_global_zero:
        print(text, flush=True)


def _for_hydra(key: str, path: Path) -> str:
    """An argument for a shell; Hydra wants quotes of its own around all but plain paths."""
    if re.fullmatch(r"[\w./:-]+", str(path), re.ASCII):
        return f"{key}={path}"
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return quote(f"{key}='{escaped}'")


def _what_else(header: Header) -> str:
    """What infer.py has to be told of this network, but for a photo."""
    if header.task == "inpainting":
        return " mask=mask.png"
    is_one_of_many = len(header.styles) > 1 or header.network == "MultiTransformerNet"
    return f" {quote(f'style={header.styles[-1]}')}" if is_one_of_many else ""


if __name__ == "__main__":
    main()
