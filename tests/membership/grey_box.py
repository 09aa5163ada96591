"""A model whose network evaluations are counted, and which may hold images in another range than [-1, 1]."""

import torch


class GreyBox:
    """A Denoiser that forwards to another one.

    `evaluated` counts images that went through the network. `reach` makes encode map [0, 1] to [-reach, reach], as an
    encoder of latents might: so points outside [-1, 1] can be asked about, exactly, through images in [0, 1].
    """

    def __init__(self, inner, reach=1.0):
        self.inner, self.reach, self.evaluated = inner, reach, 0
        self.identity, self.schedule = inner.identity, inner.schedule
        self.sample_shape, self.image_shape = inner.sample_shape, inner.image_shape
        self.device, self.dtype = inner.device, inner.dtype

    def predict_eps(self, x_t, timestep, conditioning=None):
        assert not torch.is_grad_enabled()
        self.evaluated += len(x_t)
        return self.inner.predict_eps(x_t, timestep, conditioning)

    def condition(self, prompts, count):
        return self.inner.condition(prompts, count)

    def encode(self, images):
        return self.inner.encode(images) * self.reach

    def decode(self, x0):
        return self.inner.decode(x0 / self.reach)


def evaluations(model, scores, images, **parameters):
    """Network evaluations an image, as they happen."""
    counted = GreyBox(model)
    scores(counted, images, **parameters)
    return counted.evaluated / len(images)
