"""Faults on purpose: a proxy that commits them, a matrix of fault × phase, kills. `__main__` says how to run all."""
