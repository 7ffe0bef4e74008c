"""A stack in memory that answers stackctl as Docker, HAProxy and the databases do.

stackctl's commands run whole against it. Only the programs that it starts and the clock are
replaced; time passes when stackctl waits.
"""
