"""Functions that recipes name: the literature's networks on the device, their batches, loss and accuracy."""
