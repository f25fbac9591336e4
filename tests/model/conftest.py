"""What the tests of networks and their files share."""

import http.server
import threading

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


@pytest.fixture
def loopback(tmp_path, monkeypatch):
    """A server of `folder` on this machine, at `url`; it counts its `requests`."""
    folder = tmp_path / "served"
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            requests.append(self.path)

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    listening.url = f"http://127.0.0.1:{listening.server_port}/"
    listening.folder, listening.requests = folder, requests
    yield listening
    listening.shutdown()
    listening.server_close()
    thread.join()
