"""Events: what has happened to migrations, told to whom the settings name.

Belongs here: reading what the registry has put down to be told, giving it to sinks, the built-in sinks. Does not: when
something is put down (that is part of the change itself, in the registry).
"""
