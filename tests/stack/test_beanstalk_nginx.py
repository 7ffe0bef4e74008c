"""The nginx of an Elastic Beanstalk instance with .platform: clients, headers, errors."""

import json
from typing import Any

from tests.stack.bench import Bench
from tests.stack.compose import STACK_NAME, docker
from tests.stack.test_error_pages import WORDS
from tests.stack.test_forwarding_headers import REQUEST_FROM_ADDRESSES, TRUSTED, UNTRUSTED
from tests.tree import ROOT

# The platform's own, as far as .platform is included in it. Nothing listens on port 8002.
CONFIGURATION = """
events {}
http {
    include conf.d/*.conf;
    server {
        listen 8000;
        include conf.d/elasticbeanstalk/*.conf;
        location / { proxy_pass http://127.0.0.1:8002; }
        location = /full { proxy_pass http://127.0.0.1:8001; }
        location = /echo { return 200 "x-forwarded-for: $remote_addr"; }
    }
}
"""
START = """
cp -r .platform/nginx/conf.d /etc/nginx/
echo "$0" >/etc/nginx/nginx.conf
nginx
exec python3 -c "$@"
"""
# Prints the status, headers, text and seconds of each answer, before the hook has run and after it.
REQUEST_ERRORS = """
import http.client, json, pathlib, socket, subprocess, time

def program(path, script):
    file = pathlib.Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\\n" + script)
    file.chmod(0o755)

def answer(path, length=0):
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
    connection.request("POST", path, headers={"Content-Length": str(length)})
    response = connection.getresponse()
    text = response.read().decode()
    return response.status, dict(response.getheaders()), text, time.monotonic() - began

def workers():
    master = pathlib.Path("/run/nginx.pid").read_text().strip()
    return set(pathlib.Path(f"/proc/{master}/task/{master}/children").read_text().split())

answers = {"before the hook": answer("/", 40_000_000)}
former = workers()
program("/opt/elasticbeanstalk/bin/get-config", '[ "$3" = UPLOAD_MAX_MB ] && echo 37')
program("/usr/local/bin/systemctl", 'exec nginx -s "$1"')
subprocess.run([".platform/hooks/postdeploy/limits"], check=True)
# nginx reloads in the background: until then a former worker may answer.
latest = time.monotonic() + 20
while former & workers() and time.monotonic() < latest:
    time.sleep(0.05)
answers["too large"] = answer("/", 40_000_000)
answers["down"] = answer("/")
# The kernel answers no further connection.
full = socket.create_server(("127.0.0.1", 8001), backlog=0)
waiting = [socket.socket() for _ in range(4)]
for client in waiting:
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", 8001))
answers["hangs"] = answer("/full")
print(json.dumps(answers))
"""
# Prints the status of a response with 12 KB of headers, and how many of them arrive.
REQUEST_HEADERS = """
import http.client, http.server, threading

class Container(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        for number in range(12):
            self.send_header(f"X-Long-{number}", "x" * 1000)
        self.send_header("Content-Length", "0")
        self.end_headers()

container = http.server.HTTPServer(("127.0.0.1", 8002), Container)
threading.Thread(target=container.serve_forever, daemon=True).start()
connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=60)
connection.request("GET", "/")
response = connection.getresponse()
print(response.status, sum(len(value) == 1000 for value in response.headers.values()))
"""


def run_on_instance(script: str, *arguments: str) -> str:
    """Run a Python program next to the nginx of an instance, and return its output."""
    return docker(
        *("run", "--rm", "--user", "0", "--cap-add", "NET_ADMIN", "--entrypoint", "sh"),
        *("--volume", f"{ROOT}:/srv/project:ro", "--workdir", "/srv/project"),
        *(f"{STACK_NAME}-base", "-euc", START, CONFIGURATION, script, *arguments),
    )


def test_instance_trusts_x_forwarded_for_only_from_private_networks(bench: Bench) -> None:
    """The address range of a VPC can be any of them."""
    trusted, untrusted = TRUSTED[1:], (TRUSTED[0], *UNTRUSTED)
    output = run_on_instance(REQUEST_FROM_ADDRESSES, "8000", *trusted, *untrusted)
    clients = dict(line.split() for line in output.splitlines())

    assert clients == {**dict.fromkeys(trusted, "203.0.113.9"), **{one: one for one in untrusted}}


def test_instance_forwards_12_kb_of_response_headers(bench: Bench) -> None:
    assert run_on_instance(REQUEST_HEADERS).splitlines()[-1] == "200 12"


def test_errors_of_an_instance_have_the_form_of_the_container(bench: Bench) -> None:
    """The hook sets the limits: of a body, and 5 s for a connection to the container."""
    answers: dict[str, list[Any]] = json.loads(run_on_instance(REQUEST_ERRORS).splitlines()[-1])

    for status, headers, text, _ in answers.values():
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert headers.get("Retry-After") == ("5" if status == 502 else None)
        assert json.loads(text)["detail"].startswith(WORDS[str(status)].rstrip("."))
    statuses = {name: status for name, (status, *_) in answers.items()}
    assert statuses == {"before the hook": 413, "too large": 413, "down": 502, "hangs": 504}
    assert json.loads(answers["before the hook"][2])["detail"] == f"{WORDS['413']}."
    assert "the limit is 37 MB." in answers["too large"][2]
    assert 4.5 <= answers["hangs"][3] < 9
