"""A stack in memory that answers stackctl like Docker, HAProxy and the databases.

stackctl's commands run whole against it. Only the programs that it starts and the clock are
replaced; time passes when stackctl waits.
"""
