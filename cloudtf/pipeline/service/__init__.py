"""Training batches made by other machines: the trainer's side, the servers, and making a batch."""
