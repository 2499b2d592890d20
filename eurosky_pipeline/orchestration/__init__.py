"""Dagster as an outer shell: partitions, resources, assets, checks, jobs and sensors.

Belongs here: what a run is made of, and what people see of it. Does not: the work itself, which is in rooms that
know no Dagster.
"""
