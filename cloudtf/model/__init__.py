"""The network, its losses and optimizers, and the files it is kept in."""
