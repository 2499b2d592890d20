"""Files: the scratch folder of a migration, and the store for what outlives a run."""
