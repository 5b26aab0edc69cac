"""The watchdog: bad steps are skipped, bad runs go back, hopeless runs stop in good order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from impasto.watchdog import DiscriminatorWatch, Watchdog


class Scripted(pl.LightningModule):
    """Minimises the square of one weight, times a factor that a script gives for every step."""

    def __init__(self, factors: dict[int, float]) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.network.weight, 1.0)
        self.factors = factors
        self.weights: list[float] = []
        self.rates: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.weights.append(self.network.weight.item())
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return self.network.weight.square().sum() * self.factors.get(batch_idx, 1.0)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        return [optimizer], [{"scheduler": LambdaLR(optimizer, lambda _: 1.0), "interval": "step"}]


def fit(
    factors: dict[int, float], num_steps: int, **options: int
) -> tuple[Scripted, Watchdog, pl.Trainer]:
    module, watchdog = Scripted(factors), Watchdog(**options)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=num_steps,
        max_epochs=-1,
        callbacks=[watchdog],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.zeros(1000, 1)))
    return module, watchdog, trainer


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("factor", [NAN, INF, -INF])
def test_step_that_is_not_finite_is_skipped_and_counted(factor: float) -> None:
    module, watchdog, _ = fit({3: factor}, 6)
    assert module.weights[4] == module.weights[3]
    assert module.weights[5] < module.weights[4] < module.weights[2]
    assert watchdog.num_skipped == 1
    assert watchdog.num_rollbacks == 0


def test_explosion_is_skipped_once_there_is_something_to_compare_with() -> None:
    module, watchdog, _ = fit({2: 100.0, 12: 100.0}, 15, window=10)
    assert module.weights[3] < module.weights[2]
    assert module.weights[13] == module.weights[12]
    assert watchdog.num_skipped == 1


def test_noisy_losses_are_left_alone() -> None:
    _, watchdog, _ = fit({step: 1.0 + step % 7 for step in range(60)}, 60, window=10)
    assert watchdog.num_skipped == 0


@pytest.mark.parametrize(("loss", "bad"), [(-1.5, False), (17.0, False), (19.0, True)])
def test_losses_below_zero_have_a_height_that_is_usual(loss: float, bad: bool) -> None:
    watchdog = Watchdog(window=3, explosion=20)
    watchdog.losses.extend([-1.0, -1.0, -2.0])
    assert watchdog._is_bad(loss) == bad


def test_repeated_failure_returns_to_the_start_at_half_the_rate() -> None:
    module, watchdog, _ = fit({5: NAN, 6: NAN, 7: NAN}, 12, patience=3)
    assert watchdog.num_rollbacks == 1
    assert module.weights[8] == module.weights[0] == 1.0
    assert module.rates[7] == pytest.approx(1e-2)
    assert module.rates[8:] == pytest.approx([5e-3] * 4)
    assert module.weights[11] < 1.0


def test_every_second_step_bad_is_no_way_to_go_on() -> None:
    _, watchdog, _ = fit(dict.fromkeys(range(1, 40, 2), NAN), 12, patience=3)
    assert watchdog.num_rollbacks == 2


def test_after_three_returns_training_stops_with_good_weights_and_a_message() -> None:
    module, watchdog, trainer = fit(dict.fromkeys(range(3, 100), NAN), 100, patience=2)
    assert watchdog.num_rollbacks == 3
    assert trainer.global_step == 3 + 4 * 2
    assert watchdog.failure is not None
    assert "lower task.learning_rate" in watchdog.failure
    assert torch.isfinite(module.network.weight).all()
    assert module.rates[-1] == pytest.approx(1e-2 / 8)


def test_state_survives_a_restart_amid_bad_steps() -> None:
    _, before, _ = fit({3: NAN, 4: NAN}, 5)
    after = Watchdog()
    after.load_state_dict(before.state_dict())
    assert str(after.state_dict()) == str(before.state_dict())
    assert after.good_state["weights"]["network.weight"].item() == 1.0  # not the one to resume from


def test_saved_state_is_the_one_to_return_to(tmp_path: Path) -> None:
    class Save(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 4:
                trainer.save_checkpoint(tmp_path / "resume.ckpt")

    module, watchdog = Scripted({6: NAN, 7: NAN}), Watchdog(patience=2)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=10,
        max_epochs=-1,
        callbacks=[watchdog, Save()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.zeros(1000, 1)))
    assert module.weights[8] == module.weights[4]


def fit_and_save(factors, save_at, num_steps, tmp_path, **options):

    class Save(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == save_at:
                trainer.save_checkpoint(tmp_path / "a.ckpt")

    module, watchdog = Scripted(factors), Watchdog(**options)
    pl.Trainer(
        accelerator="cpu",
        max_steps=num_steps,
        max_epochs=-1,
        callbacks=[watchdog, Save()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(torch.zeros(1000, 1)))
    return module, watchdog


def test_good_state_stays_good_after_a_return(tmp_path: Path) -> None:
    _, watchdog = fit_and_save({6: float("nan"), 7: float("nan")}, 4, 12, tmp_path, patience=2)
    assert watchdog.num_rollbacks == 1
    assert watchdog.good_state["optimizers"][0]["state"][0]["step"] == 4


def test_state_amid_bad_steps_is_none_to_return_to(tmp_path: Path) -> None:
    _, watchdog = fit_and_save({3: float("nan")}, 4, 5, tmp_path)
    assert watchdog.good_state["weights"]["network.weight"].item() == 1.0


def test_discriminator_that_dies_later_is_told(caplog: pytest.LogCaptureFixture) -> None:
    watch = DiscriminatorWatch(window=2)
    trainer, module = SimpleNamespace(global_step=1), SimpleNamespace(log=lambda *_: None)
    for accuracy in (0.7, 0.7, 1.0, 1.0):
        watch.on_train_batch_end(trainer, module, {"accuracy": torch.tensor(accuracy)}, None, 0)
    assert "the discriminator is right 100% of the time" in caplog.text
