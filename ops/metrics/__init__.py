"""Metrics in Prometheus' format: what is counted, and where it is scraped.

They are served on a port of their own, which no load balancer forwards and no machine publishes.
docs/monitoring.md says what there is.
"""

# Of each container: nginx listens there in a server, the worker itself in a worker. nginx.conf and
# haproxy.cfg say the same; a test compares.
PORT = 9145
PATH = "/metrics"
