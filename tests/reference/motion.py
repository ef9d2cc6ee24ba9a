"""Motion in NumPy: the twin of engine_ext/motion.pyx, to the last bit."""

import numpy as np


class MotionMap:
    def __init__(self, size_wh):
        width, height = size_wh
        factor = 1
        while max(width, height) > 320 * factor and 2 * factor <= min(width, height, 128):
            factor *= 2
        self.size_wh, self.factor = size_wh, factor
        self.w, self.h = width // factor, height // factor
        self.block_px = 8 * factor
        self.blocks_hw = (-(-self.h // 8), -(-self.w // 8))
        self.unit = factor * (1 if factor == 1 else 2)
        self.noise = np.zeros(self.blocks_hw, np.int64)
        self.now = self.before = None
        self.changed = np.zeros(self.blocks_hw, bool)
        self.shift = self.share = 0.0

    def _reduced(self, luma):
        columns = luma[:, : self.w * self.factor].astype(np.int64)
        upper = self.factor // 4
        rows = [upper] if self.factor == 1 else [upper, upper + self.factor // 2]
        picked = sum(columns[row :: self.factor][: self.h] for row in rows)
        return picked.reshape(self.h, self.w, self.factor).sum(2)

    def _over_blocks(self, values):
        rows, columns = self.blocks_hw
        whole = np.zeros((rows * 8, columns * 8), np.int64)
        whole[: self.h, : self.w] = values
        return whole.reshape(rows, 8, columns, 8).sum((1, 3))

    def look(self, luma, *, threshold=4.0, noises=3.0, pixels=2):
        self.now = self._reduced(luma)
        if self.before is None:
            return
        counts = self._over_blocks(np.ones((self.h, self.w), np.int64))
        difference = self.now - self.before
        means = self._over_blocks(difference) // (counts * self.unit)
        shift = int(np.sort(means, axis=None)[(means.size + 1) // 2 - 1])
        size = np.abs(difference - shift * self.unit)
        bound = int(threshold * self.unit * 16 + 0.5) + self.noise * int(noises * 16 + 0.5) // 16
        limit = np.minimum(bound // 16, 256 * self.unit)
        limits = np.repeat(np.repeat(limit, 8, 0), 8, 1)[: self.h, : self.w]
        self.changed = self._over_blocks(size > limits) >= pixels
        fresh = self._over_blocks(size) * 16 // counts
        self.noise = np.where(self.changed, self.noise, self.noise + ((fresh - self.noise) >> 4))
        self.shift, self.share = float(shift), float(self.changed.mean())

    def accept(self, blocks=None):
        if blocks is None or self.before is None:
            self.before = self.now.copy()
            return
        grown = np.repeat(np.repeat(blocks, 8, 0), 8, 1)[: self.h, : self.w]
        self.before = np.where(grown, self.now, self.before)
