"""The figures of i-SpaSP (Wolfe and Kyrillidis 2021) on plain matrices and on a network of two layers."""
