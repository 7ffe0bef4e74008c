"""Which tests the local layer's container leaves out: those that need moto or schemathesis."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("schemathesis") else ["test_schema.py", "test_s3.py"]
