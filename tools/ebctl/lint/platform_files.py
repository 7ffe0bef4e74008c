""".platform: hooks that run, and nginx files that are read and hold together.

https://docs.aws.amazon.com/elasticbeanstalk/latest/dg/platforms-linux-extend.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tools.ebctl.bundle import Bundle, BundleFile
from tools.ebctl.lint.finding import Finding

FOLDER = ".platform"
HOOK = re.compile(r"\.platform/(hooks|confighooks)/(prebuild|predeploy|postdeploy)/[^/]+")
NGINX = re.compile(r"\.platform/nginx/(nginx\.conf|conf\.d/(elasticbeanstalk/)?[^/]+\.conf)")
NEEDED_INCLUDE = "include conf.d/elasticbeanstalk/*.conf;"
# What the platform's own server block says already; a second one stops nginx.
TAKEN = ("client_body_timeout", "client_header_timeout", "keepalive_timeout", "gzip")
TOKEN = re.compile(r"""\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|[^\s{};"'\#]+""")


def check(bundle: Bundle) -> Iterator[Finding]:
    """Yield what is wrong below .platform."""
    for name, file in bundle.under(FOLDER):
        if name.startswith((f"{FOLDER}/hooks/", f"{FOLDER}/confighooks/")):
            yield from check_hook(name, file)
        elif name.startswith(f"{FOLDER}/nginx/"):
            yield from check_nginx(name, file)
        elif not name.startswith(f"{FOLDER}/httpd/"):
            yield Finding(name, 0, "nothing reads it; use hooks, confighooks or nginx", "not-read")


def check_hook(name: str, file: BundleFile) -> Iterator[Finding]:
    """Yield what keeps a hook from being run."""
    if not HOOK.fullmatch(name):
        message = "it is never run: hooks are in prebuild, predeploy or postdeploy"
        yield Finding(name, 0, message, "not-read")
        return
    if not file.executable:
        yield Finding(
            name, 0, f"it is not executable: git update-index --chmod=+x {name}", "exec-bit"
        )
    if not file.content.startswith((b"#!", b"\x7fELF")):
        yield Finding(name, 1, "its first line names no interpreter, such as #!/bin/sh", "exec-bit")
    if b"\r\n" in file.content:
        yield Finding(name, 1, "its lines end in CR LF; the interpreter is not found", "exec-bit")


def check_nginx(name: str, file: BundleFile) -> Iterator[Finding]:
    """Yield a file that nginx does not read, or cannot."""
    if not NGINX.fullmatch(name):
        message = (
            "nginx does not read it: nginx.conf, conf.d/*.conf, conf.d/elasticbeanstalk/*.conf"
        )
        yield Finding(name, 0, message, "not-read")
        return
    if name.endswith("/nginx.conf") and NEEDED_INCLUDE not in file.text:
        message = f"it replaces the platform's own and lacks `{NEEDED_INCLUDE}`"
        yield Finding(name, 0, message, "nginx")
    yield from check_blocks(name, file.text)


def check_blocks(name: str, text: str) -> Iterator[Finding]:
    """Yield braces and semicolons that do not fit, and what the platform's own block has too."""
    depth, words, start = 0, list[str](), 1
    for token in TOKEN.finditer(text):
        word, line = token[0], text.count("\n", 0, token.start()) + 1
        if word.startswith("#"):
            continue
        if word not in ("{", "}", ";"):
            start = start if words else line
            words.append(word)
            continue
        if word == ";" and not depth and in_server(name) and words[:1] and words[0] in TAKEN:
            message = f"the platform's own block has {words[0]} already; nginx would not start"
            yield Finding(name, start, message, "nginx")
        if word == "}" and words:
            yield Finding(name, start, f"`{words[0]}` lacks its ;", "nginx")
        if word == "}" and not depth:
            yield Finding(name, line, "a } that closes nothing", "nginx")
            return
        depth += {"{": 1, "}": -1, ";": 0}[word]
        words.clear()
    if words:
        yield Finding(name, start, f"`{words[0]}` lacks its ;", "nginx")
    if depth > 0:
        yield Finding(name, text.count("\n") or 1, f"{depth} {{ without its }}", "nginx")


def in_server(name: str) -> bool:
    """Return whether a file is included in the server block, rather than in http."""
    return name.startswith(f"{FOLDER}/nginx/conf.d/elasticbeanstalk/")
