"""The order in which rows meet the model: every row once an epoch, the same again after a resume."""

import random
from collections.abc import Iterator

from posttrain.errors import InputError


class DataOrder:
    """An endless iterator over batches of row numbers.

    With `should_shuffle` the permutation of an epoch depends on (seed, epoch) alone, otherwise rows come as they stand:
    so the state is two numbers, the epoch and the rows of it already given out. The last batch of an epoch holds what
    is left, unless `should_drop_last`. The state moves on to the next epoch with the last batch, so that one saved at
    the end of an epoch begins the following one.

    Raises InputError for settings that would give no batch.
    """

    def __init__(
        self,
        num_rows: int,
        batch_size: int,
        seed: int,
        should_drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        should_shuffle: bool = True,
    ) -> None:
        if num_rows < 1 or batch_size < 1:
            raise InputError(f"batches of {batch_size} out of {num_rows} rows: both must be 1 or more")
        if should_drop_last and batch_size > num_rows:
            raise InputError(
                f"batch_size {batch_size} is more than the {num_rows} rows; lower it, or keep the last batch"
            )
        if batch_size < world_size:
            raise InputError(f"batch_size {batch_size} leaves some of the {world_size} ranks without rows; raise it")
        assert 0 <= rank < world_size
        self.num_rows, self.batch_size, self.seed = num_rows, batch_size, seed
        self.should_drop_last, self.rank, self.world_size = should_drop_last, rank, world_size
        self.should_shuffle = should_shuffle
        self.epoch = self.position = 0
        self._permutation = self._permute()

    @property
    def num_batches(self) -> int:
        """Batches of an epoch."""
        num_full, num_left = divmod(self.num_rows, self.batch_size)
        return num_full + (num_left > 0 and not self.should_drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        return self

    def __next__(self) -> list[int]:
        batch = self._permutation[self.position : self.position + self.batch_size]
        self.position += len(batch)
        num_left = self.num_rows - self.position
        if num_left == 0 or (self.should_drop_last and num_left < self.batch_size):
            self.epoch, self.position = self.epoch + 1, 0
            self._permutation = self._permute()
        return batch[self.rank :: self.world_size]

    def until(self, epoch: int) -> Iterator[list[int]]:
        """The batches from here to the start of `epoch`."""
        while self.epoch < epoch:
            yield next(self)

    def for_rank(self, rank: int, world_size: int) -> "DataOrder":
        """The same order at the same place, giving `rank` its share of each batch.

        The shares of a batch are disjoint, together the batch, and of sizes that differ by 1 at most; a share of the
        last batch of an epoch is empty where that batch has fewer rows than there are ranks. The state is the same on
        every rank.
        """
        order = DataOrder(
            self.num_rows, self.batch_size, self.seed, self.should_drop_last, rank, world_size, self.should_shuffle
        )
        order.load_state_dict(self.state_dict())
        return order

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises InputError for a state that this order never takes, as after a change of the data."""
        epoch, position = state["epoch"], state["position"]
        if epoch < 0 or position not in range(0, self.num_batches * self.batch_size, self.batch_size):
            raise InputError(
                f"data order at epoch {epoch}, row {position} does not fit {self.num_rows} rows in batches of"
                f" {self.batch_size}; resume with the data and batch_size of the saved run"
            )
        self.epoch, self.position = epoch, position
        self._permutation = self._permute()

    def _permute(self) -> list[int]:
        if not self.should_shuffle:
            return list(range(self.num_rows))
        # Sorting by random() and not shuffle(): Python promises the same random() in every version, but no more.
        generator = random.Random(f"{self.seed}/{self.epoch}")
        keys = [generator.random() for _ in range(self.num_rows)]
        return sorted(range(self.num_rows), key=keys.__getitem__)
