"""GReg-1 and GReg-2 on the networks of the paper: same checkpoint, same data, rivals side by side, several seeds.

Every job (a row, a contestant, a seed) keeps a checkpoint and leaves a file of results, so that a long comparison goes
on where it was stopped, in any number of pieces.
"""
