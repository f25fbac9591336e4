"""What the tests of networks and their files share."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def with_random_state():
    """Gives a network weights and averages away from their initial values, so that nothing can
    hide, but such that its probabilities tell one image from another."""

    def change(model):
        generator = np.random.default_rng(1)
        model.set_weights(
            [
                weight + generator.normal(0, 0.02, weight.shape)
                if weight.ndim > 1
                else generator.uniform(0.5, 1.5, weight.shape)
                for weight in model.get_weights()
            ]
        )
        images = generator.integers(0, 256, (4, *model.input_shape[1:]), dtype=np.uint8)
        scores = model(images).numpy()
        assert scores.min() > 0.01 and scores.max() < 0.99 and np.ptp(scores, axis=0).min() > 1e-5
        return model

    return change
