"""The `eurosky` command. Every command imports what it needs when it runs, so that each starts as fast as it can."""
