"""One dynamic partition a migration; the key is its token."""

from dagster import DynamicPartitionsDefinition

MIGRATIONS = DynamicPartitionsDefinition(name="migrations")
