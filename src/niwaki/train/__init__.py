"""The engine: the only one who acts on a model during training."""
