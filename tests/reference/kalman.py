"""NumPy twin of the filter of SORT: the textbook equations on whole matrices (Bewley et al. 2016, section 3.2)."""

import numpy as np

F = np.eye(7) + np.eye(7, k=4)
H = np.eye(4, 7)
R = np.diag([1.0, 1.0, 10.0, 10.0])
P0 = np.diag([10.0] * 4 + [1e4] * 3)
Q = np.diag([1.0] * 4 + [0.01, 0.01, 0.0001])


class BoxFilter:
    def __init__(self, uvsr):
        self.x = np.r_[uvsr, 0.0, 0.0, 0.0]
        self.p = P0.copy()

    def predict(self, dt=1):
        if self.x[2] + dt * self.x[6] <= 0:
            self.x[6] = 0.0
        self.move(dt)

    def move(self, dt=1):
        """A step of k is k steps."""
        for _ in range(dt):
            self.x = F @ self.x
            self.p = F @ self.p @ F.T + Q

    def update(self, uvsr):
        gain = self.p @ H.T @ np.linalg.inv(H @ self.p @ H.T + R)
        self.x = self.x + gain @ (uvsr - H @ self.x)
        keep = np.eye(7) - gain @ H
        self.p = keep @ self.p @ keep.T + gain @ R @ gain.T

    def box(self):
        u, v, s, r = self.x[:4]
        w = np.sqrt(s * r)
        h = s / w
        return np.array([u - w / 2, v - h / 2, u + w / 2, v + h / 2])


def xyxy_to_uvsr(box):
    w, h = box[2] - box[0], box[3] - box[1]
    return np.array([box[0] + w / 2, box[1] + h / 2, w * h, w / h])


class NoisyFilter:
    """The textbook filter of a box of four coordinates with a velocity each, whose noise depends on the state.

    noise(x): the standard deviations of the four positions, velocities and measurements. A step of k is k steps with
    the noise of the first.
    """

    F = np.eye(8) + np.eye(8, k=4)
    H = np.eye(4, 8)

    def __init__(self, box, noise, first_factors):
        self.noise = noise
        self.x = np.r_[box, np.zeros(4)]
        position, velocity, _ = noise(self.x)
        self.p = np.diag(np.r_[position * first_factors[0], velocity * first_factors[1]] ** 2)

    def predict(self, dt=1):
        position, velocity, _ = self.noise(self.x)
        for _ in range(dt):
            self.x = self.F @ self.x
            self.p = self.F @ self.p @ self.F.T + np.diag(np.r_[position, velocity] ** 2)

    def update(self, box):
        s = self.H @ self.p @ self.H.T + np.diag(self.noise(self.x)[2] ** 2)
        gain = self.p @ self.H.T @ np.linalg.inv(s)
        self.x = self.x + gain @ (box - self.H @ self.x)
        self.p = self.p - gain @ s @ gain.T
