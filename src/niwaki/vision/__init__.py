"""Vision as the literature of pruning measures it: its networks, and readers and batches of CIFAR and ImageNet."""
