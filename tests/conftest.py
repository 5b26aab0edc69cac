"""What several tests need: a painting, photos, a website, a training small enough for a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from impasto.images import save_image
from impasto.loss_networks import Lite

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    """A picture of 80x64 coloured pixels."""
    path = tmp_path / "painting.png"
    save_image(torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0)), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 24 pictures, the smoothed noise of which tells them apart."""
    folder = tmp_path / "photos"
    generator = torch.Generator().manual_seed(1)
    for number in range(24):
        coarse = torch.rand(1, 3, 5, 6, generator=generator)
        save_image(
            torch.nn.functional.interpolate(coarse, scale_factor=8), folder / f"{number}.png"
        )
    return folder


@pytest.fixture
def lite() -> Lite:
    """The lite loss network with random weights."""
    torch.manual_seed(0)
    return Lite(weights="random")


@pytest.fixture
def tiny(painting: Path, photos: Path, tmp_path: Path) -> list[str]:
    """Overrides that make a training take a second: a thin network, VGG with random weights."""
    return [
        "style=image",
        f"style.image={painting}",
        "style.name=tiny",
        "style.size=32",
        "data=folder",
        f"data.path={photos}",
        "data.image_size=32",
        "data.crop_size=null",
        "data.batch_size=2",
        "data.num_workers=0",
        "loss_network=vgg16",
        "loss_network.weights=random",
        "loss.content_layers.relu3_3=0",
        "+loss.content_layers.relu1_2=1",
        "loss.style_layers.relu2_2=0",
        "loss.style_layers.relu3_3=0",
        "loss.num_levels=1",
        "model.width=2",
        "model.num_blocks=1",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=8",
        "trainer.val_check_interval=4",
        "trainer.log_every_n_steps=1",
        f"run_folder={tmp_path / 'runs'}",
    ]


@pytest.fixture
def tiny_lite(tiny: list[str]) -> list[str]:
    """The same training with the lite loss network, its default layers and random weights."""
    others = [option for option in tiny if not option.startswith(("loss", "+loss"))]
    return [*others, "loss_network=lite", "loss_network.weights=random"]


@pytest.fixture
def configure() -> Callable[[list[str]], DictConfig]:
    """Compose a config from overrides, as the command line does."""

    def composed(overrides: list[str]) -> DictConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return compose("train", overrides)

    return composed


@dataclass
class Website:
    """What a server on this machine answers.

    Args:
        url: Of the server, without a slash at its end.
        pages: By path, the body of the answer.
        codes: By path, the status; 200 by default, 404 for unknown paths.
        headers: By path, those of the answer; no ``Content-Length`` unless given.
    """

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)


@pytest.fixture
def website(monkeypatch: pytest.MonkeyPatch) -> Iterator[Website]:
    """A server on this machine, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "*")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(site.codes.get(self.path, 200 if self.path in site.pages else 404))
            for name, value in site.headers.get(self.path, {}).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(ConnectionError):  # who has had enough hangs up
                self.wfile.write(site.pages.get(self.path, b""))

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Website(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield site
        server.shutdown()
        thread.join()
