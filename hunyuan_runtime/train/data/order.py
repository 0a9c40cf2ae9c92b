"""The endless order of a training run: a permutation of the examples for each epoch, told by seed and epoch alone.

Which example stands at a position depends on nothing else, so a run that resumes at a position, on any number of ranks,
goes on with the data that it would have seen.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray


class Order:
    """One epoch's permutation is kept: 8 bytes an example, 16 while the next one is drawn."""

    def __init__(self, size: int, seed: int) -> None:
        self.size: Final = size
        self._seed = seed
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        """The number of the example at a global position, which has no upper end."""
        epoch, place = divmod(position, self.size)
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self._seed, epoch]).permutation(self.size)
            self._epoch = epoch
        return int(self._permutation[place])
