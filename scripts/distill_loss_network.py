"""Distil the lite loss network from VGG-19: the same Gram matrices and contents, much cheaper.

    python scripts/distill_loss_network.py --photos photos/ --paintings paintings/
    python scripts/distill_loss_network.py ... --teacher vgg19_relu3_4.safetensors --steps 7000

Without ``--teacher`` torchvision's weights are downloaded. Stopped at any moment, the same command
goes on where it was; ``tensorboard --logdir runs`` shows how far student and teacher are apart.

Every batch holds photos, generated scenes, paintings, some of them noisy or recoloured, and what
the student will be asked about: pictures of an apprentice, a network that learns to paint against
the student while the student is learning, a new painting every few hundred steps. Where the
student's judgement is wrong, the apprentice goes, and there the teacher corrects it.

The teacher's features enter through linear maps that training alone needs: each layer's leading
principal components. In these, the student matches the features and the Gram matrices, both
relative to the teacher's own.

Source:
    Collaborative distillation (Wang et al., CVPR 2020, https://arxiv.org/abs/2003.08436) matches
    features through learnt linear maps; components, Gram matrices and the apprentice are ours.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from impasto.data.folder import RandomCrops
from impasto.data.sample import Scenes
from impasto.files import write_atomically
from impasto.images import list_images
from impasto.loss_networks import VGG, Lite
from impasto.loss_networks.lite import COMPONENTS
from impasto.losses import PerceptualLoss, gram_matrix, style_targets
from impasto.memory import keep_freed_memory
from impasto.networks import TransformerNet, channels_last
from impasto.precision import half_dtype
from impasto.schedule import rate_at
from least_squares import initialize

PHOTOS, SCENES, PAINTINGS, PAINTED = 2, 1, 1, 4  # of each kind in a batch
BATCH_SIZE = PHOTOS + SCENES + PAINTINGS + PAINTED
LEARNING_RATE = 3e-4
WARMUP_STEPS = 200
GRAM_WEIGHT = 4.0  # a Gram matrix is off by far less than its features
STEPS_PER_PAINTING = 150  # of the apprentice
STEPS_PER_TARGET = 10
STYLE_LAYERS = {"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu3_4": 1.0}
CONTENT_LAYERS = {"relu3_3": 1.0}
FIRST_BATCHES = 24  # for what is solved in closed form
SAVED_EVERY = 200  # steps


class Pictures(Dataset[Tensor]):
    """One batch per step, each a function of its number: photos, scenes, paintings, photos.

    Args:
        photos: Folder.
        paintings: Folder.
        size: Of all pictures, in pixels.
        steps: Their number.
    """

    def __init__(self, photos: Path, paintings: Path, size: int, steps: int) -> None:
        self.photos = RandomCrops(list_images(photos), size, scales=(0.35, 1), seed=1)
        self.paintings = RandomCrops(list_images(paintings), size, scales=(0.2, 1), seed=2)
        self.scenes = Scenes(size, (3,))
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Tensor:
        """RGB in [0, 1], shape ``(BATCH_SIZE, 3, size, size)``; the last ones to be painted on."""
        rng = np.random.default_rng((4, step))
        photos = [
            self.photos[(PHOTOS + PAINTED) * step + number].image
            for number in range(PHOTOS + PAINTED)
        ]
        scenes = [self.scenes[SCENES * step + number].image for number in range(SCENES)]
        paintings = [self.paintings[PAINTINGS * step + number].image for number in range(PAINTINGS)]
        altered = [*photos[:PHOTOS], *scenes, *paintings]
        images = [alter(image / 255, rng) for image in altered]
        return torch.stack([*images, *(image / 255 for image in photos[PHOTOS:])])


def alter(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Mix the colours of one picture in three, add noise to one in four."""
    if rng.random() < 1 / 3:
        mix = np.eye(3) + rng.normal(0, 0.4, (3, 3))
        mixed = torch.from_numpy(mix / mix.sum(axis=1, keepdims=True).clip(0.5)).float()
        image = torch.einsum("ij,jhw->ihw", mixed, image) * rng.uniform(0.6, 1.3)
    if rng.random() < 1 / 4:
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0.01, 0.2), image.shape))
        image = image + noise.float()
    return image.clamp(0, 1)


class Teacher:
    """VGG-19's features, turned to their leading principal components, of mean square 1.

    Args:
        weights: As ``VGG`` takes them.
        dtype: Precision.
    """

    def __init__(self, weights: str, dtype: torch.dtype) -> None:
        self.network = VGG("vgg19", COMPONENTS, weights, dtype)
        self.components: dict[str, Tensor] = {}

    @torch.no_grad()
    def find_components(self, batches: list[Tensor]) -> None:
        """Find the leading directions of every layer's features, about zero like Gram matrices."""
        sums: dict[str, Tensor] = {}
        for images in batches:
            for layer, features in self.network(images).items():
                grams = gram_matrix(features)
                traces = grams.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
                sums[layer] = sums.get(layer, 0) + (grams / traces).sum(0)  # every picture alike
        for layer, count in COMPONENTS.items():
            directions = torch.linalg.eigh(sums[layer])[1].flip(1)[:, :count]  # falling energy
            self.components[layer] = directions.T
        squares = dict.fromkeys(COMPONENTS, 0.0)
        for images in batches:
            for layer, features in self(images).items():
                squares[layer] += features.square().mean().item() / len(batches)
        for layer, square in squares.items():
            self.components[layer] /= square**0.5

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Float32 features of shape ``(N, COMPONENTS[layer], H', W')``, by layer."""
        return {
            layer: torch.einsum("kc,nchw->nkhw", self.components[layer], features.float())
            for layer, features in self.network(images).items()
        }


class Distillation:
    """Student, teacher and apprentice, and how far they are.

    Args:
        options: Of the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.dtype = half_dtype("cpu") or torch.float32
        self.teacher = Teacher(options.teacher, self.dtype)
        self.student = Lite(weights="random", padding_mode="zeros").requires_grad_(True)
        # The same weights as losses use them: frozen, with no black border to paint a frame for.
        self.judge = Lite(weights="random")
        self.judge.load_state_dict(self.student.state_dict(), assign=True)
        self.judge.requires_grad_(False)
        self.apprentice = channels_last(TransformerNet(width=16, num_blocks=3))
        self.rates = {self.student: LEARNING_RATE, self.apprentice: 2e-3}
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate) for network, rate in self.rates.items()
        ]
        self.step = 0
        self.loss: PerceptualLoss | None = None  # the apprentice's

    def batches(self) -> DataLoader[Tensor]:
        """Load the batches from this step on, one worker ahead."""
        options = self.options
        pictures = Pictures(options.photos, options.paintings, options.size, options.steps)
        return DataLoader(pictures, sampler=range(self.step, options.steps), num_workers=1)

    def start(self) -> None:
        """Find the teacher's components and the student's first weights."""
        batches = [
            images[0] for _, images in zip(range(FIRST_BATCHES), self.batches(), strict=False)
        ]
        self.teacher.find_components(batches)
        initialize(self.student, self.teacher.network, self.teacher, batches)

    def advance(self, images: Tensor) -> dict[str, float]:
        """Take one step of both; returns what to log."""
        share = rate_at(self.step, self.options.steps, WARMUP_STEPS, "cosine")
        self.optimizers[0].param_groups[0]["lr"] = LEARNING_RATE * share
        painted, style = self._paint(images[-PAINTED:])
        images = torch.cat([images[:-PAINTED], painted])
        parts = self._compare(images.contiguous(memory_format=torch.channels_last))
        self.optimizers[0].zero_grad()
        sum(parts.values(), torch.zeros(())).backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 5.0)
        self.optimizers[0].step()
        self.step += 1
        return {**{name: part.item() for name, part in parts.items()}, "apprentice/style": style}

    def _compare(self, images: Tensor) -> dict[str, Tensor]:
        wanted = self.teacher(images)
        with torch.autocast("cpu", self.dtype):
            found = self.student(images)
        parts = {}
        for layer, target in wanted.items():
            features = found[layer].float()
            error = (features - target).square().mean(dim=(1, 2, 3))
            # Relative to the picture's own energy, but no picture counts many times the others.
            energy = target.square().mean(dim=(1, 2, 3)) + 0.1
            parts[f"features/{layer}"] = (error / energy).mean()
            gram, goal = gram_matrix(features), gram_matrix(target)
            energy = goal.square().sum(dim=(1, 2))
            floor = 0.1 * energy.mean()
            off = (gram - goal).square().sum(dim=(1, 2)) / (energy + floor)
            parts[f"gram/{layer}"] = GRAM_WEIGHT * off.mean()
        return parts

    def _paint(self, photos: Tensor) -> tuple[Tensor, float]:
        """Let the apprentice paint and learn from the student's judgement."""
        if self.loss is None or self.step % STEPS_PER_TARGET == 0:
            self.loss = self._commission()  # anew: what the student sees in a painting changes
        photos = photos.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", self.dtype):
            painted = self.apprentice(photos).float()
            parts = self.loss(painted, photos)
        self.optimizers[1].zero_grad()
        parts["total"].backward()
        nn.utils.clip_grad_norm_(self.apprentice.parameters(), 1.0)
        self.optimizers[1].step()
        return painted.detach(), parts["style"].item()

    def _commission(self) -> PerceptualLoss:
        """Order pictures in the manner of a painting, large or small, strict or free."""
        turn = self.step // STEPS_PER_PAINTING
        rng = np.random.default_rng((5, turn))
        paths = list_images(self.options.paintings)
        size = self.options.size
        crops = RandomCrops(paths, 2 * size, scales=(0.7, 1), seed=6)
        painting = crops[turn].image[None] / 255
        targets = style_targets(self.judge, painting, STYLE_LAYERS, num_levels=2)
        return PerceptualLoss(
            self.judge,
            targets,
            CONTENT_LAYERS,
            STYLE_LAYERS,
            content_weight=float(np.exp(rng.uniform(np.log(0.05), np.log(0.5)))),
        )

    def save(self, path: Path) -> None:
        """Keep all that is needed to go on."""
        write_atomically(path.parent / "lite.safetensors", self.weights())
        state = {
            "step": self.step,
            "student": self.student.state_dict(),
            "apprentice": self.apprentice.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "components": self.teacher.components,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go on from there."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.step = state["step"]
        self.student.load_state_dict(state["student"])
        self.apprentice.load_state_dict(state["apprentice"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.teacher.components = state["components"]

    def weights(self) -> bytes:
        """The student as the package keeps it: half precision, safetensors."""
        return save(
            {
                name: weight.detach().half().contiguous()
                for name, weight in self.student.state_dict().items()
            }
        )


def main() -> None:
    """Distil, from the start or from where it was."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True, help="folder")
    parser.add_argument("--paintings", type=Path, required=True, help="folder")
    parser.add_argument("--teacher", default="hub", help="weights of VGG-19, or 'hub'")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--size", type=int, default=128, help="of the pictures, in pixels")
    parser.add_argument("--folder", type=Path, default=Path("runs/lite"), help="where to write")
    options = parser.parse_args()
    keep_freed_memory()
    torch.manual_seed(0)
    options.folder.mkdir(parents=True, exist_ok=True)
    distillation = Distillation(options)
    resume = options.folder / "resume.pt"
    if resume.exists():
        distillation.load(resume)
    else:
        distillation.start()
    log = SummaryWriter(str(options.folder), purge_step=distillation.step)
    progress = tqdm(distillation.batches(), initial=distillation.step, total=options.steps)
    for images in progress:
        parts = distillation.advance(images[0])
        if distillation.step % 20 == 0:
            for name, value in parts.items():
                log.add_scalar(name, value, distillation.step)
            progress.set_postfix({name: f"{value:.3f}" for name, value in parts.items()})
        if distillation.step % SAVED_EVERY == 0 or distillation.step == options.steps:
            distillation.save(resume)
    print(f"Wrote {options.folder / 'lite.safetensors'}.")


if __name__ == "__main__":
    main()
