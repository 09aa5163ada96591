"""Decision of the wiring control: what errors of a network say beside those of a blur, on the figures of the issue."""

import numpy as np
import pytest

from pytest_diffprivacy.statistics.wiring import Other, Wiring, judge_wiring

BLUR = (0.583, 0.376, 0.125, 0.018)
RIGHT = (0.174, 0.085, 0.051, 0.015)


def images(means, seed=0):
    """Errors of 32 images around these means."""
    return np.array(means) * np.exp(0.2 * np.random.default_rng(seed).standard_normal((32, 4)) - 0.02)


def judged(errors, *, fitted=None, others=()):
    errors = images(errors, 1)
    known = {name: Other(images(means, 3), images(BLUR, 0), errors) for name, means in dict(others).items()}
    return judge_wiring(errors, images(BLUR, 0), errors if fitted is None else images(fitted, 2), known)


@pytest.mark.parametrize("errors", [(0.180, 0.164, 0.300, 0.125), (1.45, 0.82, 0.051, 1.21), (1.22, 1.47, 1.56, 1.57)])
def test_a_wiring_that_explains_the_errors_is_named(errors):
    found = judged(errors, others={"another": RIGHT, "nonsense": (2.0, 2.0, 2.0, 2.0)})
    assert (found.wiring, found.remedy) == (Wiring.WRONG, "another")


def test_the_right_wiring_holds_also_where_another_is_as_good():
    assert judged(RIGHT, others={"another": RIGHT}).wiring is Wiring.RIGHT


def test_a_small_loss_where_noise_hides_all_holds():
    assert judged((0.174, 0.085, 0.051, 0.022)).wiring is Wiring.RIGHT


def test_a_network_that_wins_nowhere_is_no_better_than_a_blur():
    assert judged((1.1, 1.1, 1.1, 1.1)).wiring is Wiring.BLUR
    assert judged((0.7, 0.5, 0.15, 0.022)).wiring is Wiring.BLUR


def test_an_output_that_holds_more_than_a_blur_knows_is_wired_wrongly():
    assert judged((3.0, 3.0, 3.0, 3.0), fitted=RIGHT).wiring is Wiring.WRONG


def test_a_network_that_denoises_little_noise_and_not_much_is_wired_wrongly():
    assert judged((0.3, 0.35, 0.75, 0.72)).wiring is Wiring.WRONG


def test_timesteps_that_no_wiring_has_learned_hide_no_explanation():
    """An undertrained Stable Diffusion XL: rightly asked, it errs most where there is most noise."""
    blur, right, as_v = (0.92, 0.511, 0.0627, 0.00389), (0.345, 0.162, 0.0579, 0.0342), (0.374, 0.376, 0.118, 0.00834)

    def found(errors, other):
        known = {"other": Other(images(other, 3), images(blur), images(errors, 1))}
        return judge_wiring(images(errors, 1), images(blur), images(errors, 1), known)

    assert found(as_v, right).remedy == "other"
    assert found(right, as_v).wiring is Wiring.RIGHT


def test_a_wiring_that_loses_nowhere_is_wrong_where_another_is_far_better():
    """Of a consistency function, whose errors count half, others are tried in any case."""
    assert judged((0.5, 0.2, 0.1, 0.015), others={"another": RIGHT}).remedy == "another"
    assert judged((0.2, 0.1, 0.06, 0.015), others={"another": RIGHT}).wiring is Wiring.RIGHT


def test_right_wiring_is_rarely_called_wrong():
    """Calibration: an error equal to the blur's is called neither wrong nor unlearned, at 0.001 a timestep."""
    rng, called = np.random.default_rng(0), 0
    for _ in range(500):
        errors, blur = (np.exp(0.3 * rng.standard_normal((32, 4))) for _ in range(2))
        called += judge_wiring(errors, blur, errors, {}).wiring is not Wiring.RIGHT
    assert called <= 8
