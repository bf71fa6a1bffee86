"""asv: time of training and inference."""

from typing import ClassVar

from .common import (
    Peak,
    article_trainer,
    best_seconds,
    check_article,
    given_data_trainer,
    random_net,
)


class Article:
    """The article's job: 2-8-8-1, batches of 16."""

    iterations = 4000  # at least a millisecond, since `setup` comes before every timed call

    def setup(self) -> None:
        """Compile, check the results, and take the first chunk."""
        check_article()
        self.trainer = article_trainer()
        self.trainer.run(self.iterations)

    def time_4000_iterations(self) -> None:
        """Sampling, target, forward, loss, backward, update, loss kept."""
        self.trainer.run(self.iterations)

    def peakmem_120_000_iterations(self) -> None:
        """Memory of the whole process."""
        article_trainer().run(120_000)

    def track_time_in_yardsticks(self) -> float:
        """Time of 500 iterations over that of a fixed loop of multiply-adds in the same process.

        The two take turns and each counts with its best time, so what the machine does besides
        cancels out; this is the figure to compare between commits.
        """
        training, yardstick = best_seconds(lambda: self.trainer.run(500), Peak(), rounds=5000)
        return training / yardstick

    track_time_in_yardsticks.unit = "yardsticks"  # type: ignore[attr-defined]  # asv reads it there


class Sizes:
    """Part of the grid of sizes: a number of compiled steps each, on given data."""

    params: ClassVar = [[16, 64, 256], [16, 128]]
    param_names: ClassVar = ["hidden", "batch_size"]

    def setup(self, hidden: int, batch_size: int) -> None:
        """Compile, and prepare data."""
        check_article()
        self.steps = max(1, 10_000_000 // (hidden * hidden * batch_size))
        self.trainer = given_data_trainer(random_net([hidden, hidden]), batch_size, self.steps)

    def time_steps(self, hidden: int, batch_size: int) -> None:
        """As many steps as have about 60 MFLOP."""
        self.trainer.run(self.steps)


class Inference:
    """Outputs of a trained network."""

    def setup(self) -> None:
        """Compile."""
        check_article()
        self.net = article_trainer().net
        self.net.get_output([[0.5, -0.5]])

    def time_1000_single_samples(self) -> None:
        """One call for each sample."""
        for _ in range(1000):
            self.net.get_output([[0.5, -0.5]])
