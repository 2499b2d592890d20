"""What others can add to the pipeline without touching it: protocols, hooks, and the manager that loads them.

Belongs here: what a plugin's author has to know. Does not: any plugin. The built-in ones come in by the same entry
point as everybody's, and this room imports none of them.
"""
