"""What it costs to train on several devices, and what is lost when a machine dies."""
