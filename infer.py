"""Paint a photo, a video or a folder of photos: python infer.py ckpt=... input=photo.jpg."""

import gc
import io
import signal
import sys

handler = signal.getsignal(signal.SIGINT)
if handler is signal.default_int_handler:  # and not ignored, as in the background of a shell
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback amid the imports
gc.disable()  # what PyTorch makes as it is imported stays: looking for garbage in it takes a second
from impasto.cli import main  # noqa: E402

gc.freeze()  # nor is it looked through while painting, and at exit
gc.enable()
signal.signal(signal.SIGINT, handler)

if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):  # names may have signs that it has not
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
