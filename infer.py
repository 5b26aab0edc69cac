"""Paint a photo, a video or a folder of photos: python infer.py ckpt=... input=photo.jpg."""

import sys

from impasto.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
