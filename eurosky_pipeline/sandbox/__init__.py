"""A real AT Protocol network on loopback: one PLC directory and two Personal Data Servers, for demos and tests.

    state     what is remembered of it (light: every pipeline run reads it)
    network   up, down, status
    seed      an account worth migrating; `damage` spoils some of its blobs
    packages  the servers themselves, from npm; `node` finds the Node that runs them

What does not belong here: anything that a migration between real hosts needs.
"""
