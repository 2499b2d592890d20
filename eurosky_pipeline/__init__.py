"""Move AT Protocol accounts between Personal Data Servers, and prove that nothing was lost.

Importing this package does nothing else: no network, no environment, no Dagster.
"""

__version__ = "0.1.0"
