"""A supervisor event listener that ends supervisord when one of its programs is FATAL.

A container whose nginx or uWSGI cannot be restarted is of no use: better that it ends and the
restart policy, or the load balancer, takes over. http://supervisord.org/events.html
"""

import os
import signal
import sys

from supervisor import childutils


def main() -> None:
    """Wait for one event, say which program it was, and stop supervisord."""
    _, payload = childutils.listener.wait()
    headers = childutils.get_headers(payload)
    sys.stderr.write(
        f"supervisor: {headers['groupname']} cannot be started, so this container ends. The "
        "lines above say why.\n"
    )
    sys.stderr.flush()
    os.kill(os.getppid(), signal.SIGTERM)
    childutils.listener.ok()


if __name__ == "__main__":
    main()
