"""Makes a team's project of this tree; copier runs it (copier.yml).

Standard library only: it runs with copier's own Python.
"""
