"""A white-box model with a matrix a timestep, trained in closed form: shadow models that cost nothing."""

import torch

from pytest_diffprivacy.models import ModelIdentity, NoiseSchedule
from pytest_diffprivacy.models.identity import weights_digest


class Subspace:
    """The best linear denoiser of a few images, one matrix a timestep: fits its members and no others.

    E[x0 | x_t] of a Gaussian with the members' second moments: x0hat = alpha C (alpha^2 C + sigma^2 I)^-1 x_t.
    """

    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self, points, shape=(1, 4, 4), timesteps=range(99, 1000, 100)):
        self.sample_shape = self.image_shape = shape
        self.schedule, self._maps = NoiseSchedule.linear(), {}
        moments = points.double().T @ points.double() / len(points)
        eye = torch.eye(points.shape[1], dtype=torch.float64)
        for t in timesteps:
            alpha, sigma = self.schedule.at(t)
            self._maps[t] = alpha * moments @ torch.linalg.inv(alpha**2 * moments + sigma**2 * eye)
        digest = weights_digest(self.named_parameters(), {})
        parameters = len(self._maps) * eye.numel()
        self.identity = ModelIdentity("subspace", "linear", digest, parameters, "float64", "cpu", "white box")

    def named_parameters(self):
        yield from ((f"map {t}", tensor) for t, tensor in self._maps.items())

    def predict_eps(self, x_t, timestep, conditioning=None):
        alpha, sigma = self.schedule.at(timestep)
        guess = x_t.flatten(1) @ self._maps[timestep].T
        return (x_t - alpha * guess.reshape(x_t.shape)) / sigma

    def condition(self, prompts, count):
        return None

    def encode(self, images):
        return images.double() * 2.0 - 1.0

    def decode(self, x0):
        return (x0 + 1.0) / 2.0

    def eps_jvp(self, x_t, timestep, tangent, conditioning=None):
        raise NotImplementedError
