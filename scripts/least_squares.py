"""First weights of the lite loss network, solved for instead of trained."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from impasto.loss_networks import VGG, Lite


@torch.no_grad()
def initialize(
    student: Lite,
    vgg: VGG,
    wanted: Callable[[Tensor], dict[str, Tensor]],
    batches: Sequence[Tensor],
) -> None:
    """Solve for the student's weights, one convolution after the other, then for its heads.

    Of the teacher's channels those are chosen from which all others follow best, and each
    convolution is the least-squares map from what the student sees to these channels before their
    ReLU. That is worth thousands of steps of training from random weights.

    Args:
        student: With zeros for padding, as the teacher has.
        vgg: The teacher.
        wanted: What the student's heads should return for images, by layer.
        batches: RGB in [0, 1], shape ``(N, 3, S, S)`` each.
    """
    convolutions = [layer for layer in student.stages.modules() if isinstance(layer, nn.Conv2d)]
    for position, convolution in enumerate(tqdm(convolutions, desc="Least squares")):
        products = Products()
        for images in batches:
            features = 4 * images - 2
            for former in convolutions[:position]:
                features = former(features).relu()
            products.add(features, preactivations(vgg, images, position), convolution)
        chosen = select(products.energy, convolution.out_channels)
        scale = products.energy.diagonal()[chosen].rsqrt()  # a mean square of 1 after the ReLU
        fill(convolution, products.solve()[:, chosen] * scale)
    for layer, head in student.heads.items():
        products = Products()
        for images in batches:
            features = 4 * images - 2
            for name, stage in student.stages.items():
                features = stage(features)
                if name == layer:
                    break
            products.add(features, wanted(images)[layer], head)
        fill(head, products.solve())


class Products:
    """The sums of a least-squares problem, over batches: from patches, to channels."""

    def __init__(self) -> None:
        self.inputs = self.both = self.energy = torch.zeros(())

    def add(self, features: Tensor, targets: Tensor, convolution: nn.Module) -> None:
        """Add one batch: what ``convolution`` sees, and what it should return there."""
        assert isinstance(convolution, nn.Conv2d)
        patches = nn.functional.unfold(
            features.float(),
            convolution.kernel_size,
            padding=convolution.padding,  # type: ignore[arg-type]
            stride=convolution.stride,
        )
        rows = nn.functional.pad(patches.mT.flatten(0, 1), (0, 1), value=1.0)  # 1 for the bias
        wanted = targets.float().flatten(2).mT.flatten(0, 1)
        count = len(rows)
        self.inputs = self.inputs + rows.T @ rows / count
        self.both = self.both + rows.T @ wanted / count
        self.energy = self.energy + wanted.relu().T @ wanted.relu() / count

    def solve(self) -> Tensor:
        """The best linear map, shape ``(inputs + 1, outputs)``."""
        ridge = 1e-5 * self.inputs.trace() / len(self.inputs)
        return torch.linalg.solve(self.inputs + ridge * torch.eye(len(self.inputs)), self.both)


def fill(convolution: nn.Module, solution: Tensor) -> None:
    """Write a solution of ``Products`` into a convolution."""
    assert isinstance(convolution, nn.Conv2d)
    convolution.weight.copy_(solution[:-1].T.reshape(convolution.weight.shape))
    assert convolution.bias is not None
    convolution.bias.copy_(solution[-1])


def select(energy: Tensor, count: int) -> list[int]:
    """Choose channels greedily, each the one that explains most of what is not yet explained."""
    left, chosen = energy.double().clone(), list[int]()
    for _ in range(count):
        gain = left.square().sum(0) / left.diagonal().clamp_min(1e-9 * energy.trace())
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        left -= torch.outer(left[:, best], left[best]) / left[best, best].clamp_min(1e-12)
    return chosen


def preactivations(vgg: VGG, images: Tensor, position: int) -> Tensor:
    """VGG's features at one of its layers before the ReLU; pooled where the student strides."""
    names = ["", *vgg.names, ""]
    former, name, following = names[position : position + 3]
    if former:
        features = vgg(images, [former])[former]
    else:
        features = ((images - vgg.mean) / vgg.std).to(next(vgg.parameters()).dtype)
    if former and name.endswith("_1"):
        features = nn.functional.max_pool2d(features, kernel_size=2)
    found = vgg.convolutions[position](features)
    return nn.functional.max_pool2d(found, kernel_size=2) if following.endswith("_1") else found
