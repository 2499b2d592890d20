"""Fuzzing of everything that reads strangers' bytes: see `targets` for what is fuzzed, `__main__` for how."""
