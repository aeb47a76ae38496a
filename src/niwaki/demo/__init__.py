"""The demonstration: a small data set, a small network and a training loop, all in the package."""
