"""What the engine costs and keeps when a model is trained by several processes."""
