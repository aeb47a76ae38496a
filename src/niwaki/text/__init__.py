"""Data, training and metrics of language tasks: labelled tables, batches, encoders, fine-tuning, perplexity."""
