"""What is right or wrong: the machine, `.env`, containers, servers, their answers.

Nothing here may change anything.
"""
