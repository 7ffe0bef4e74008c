"""Log lines as JSON, with the request that each belongs to.

Nothing here may write a secret or a query's values.
"""
