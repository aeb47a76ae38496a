"""SPUR on language tasks, beside plain iterative pruning, controls, and a tuned gradual pruning."""
