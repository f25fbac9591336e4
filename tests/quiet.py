"""A plugin of pytest, loaded before it takes over the output: keeps TensorFlow's lines out of it.

With pytest-xdist, the processes that run the tests write to the output of the first one.
"""

import cloudtf  # noqa: F401 - sets how much TensorFlow logs
from cloudtf import noise

noise.keep_out()
