"""Multiply-adds and measured speed: eight networks in four runtimes, cut in several ways and timed in turns.

A cell is a network in a runtime at a batch. Every cell that is done is a file, and is not made again.
"""
