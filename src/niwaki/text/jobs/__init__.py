"""Functions that recipes name: an encoder with a head, the batches of a task, the loss, the score, inputs to trace."""
