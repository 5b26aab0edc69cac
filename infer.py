"""Paint a photo, a video or a folder of photos: python infer.py ckpt=... input=photo.jpg."""

import gc
import io
import sys

gc.disable()  # what PyTorch makes as it is imported stays: looking for garbage in it takes a second
from impasto.cli import main  # noqa: E402

gc.freeze()  # nor is it looked through while painting, and at exit
gc.enable()

if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have signs that it has not
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
