"""Decodes an image in a process of its own, with limits on its time and memory.

A small file can take minutes or gigabytes to decode, or crash its decoder. Then that process alone
ends, and the worker knows that the image is to blame: a worker that is lost takes both along.
"""

import os
import resource
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from PIL import Image

from demo.uploads.images import ImageError
from ops.environment.check import image_bytes

# Time on the processor: an image of 40 megapixels takes a second.
CPU_SECONDS = 8
# In all; shorter than a task's soft time limit. With less of the processor the machine was busy.
SECONDS = 15
BUSY_CPU_SECONDS = 1
BLOCK = 65536

TOO_MUCH = "The image takes too much time or memory to decode."
DONE, REFUSED, FAILED = b"d", b"r", b"f"


def within_limits(work: Callable[[], bytes], max_megapixels: int) -> bytes:
    """Return what `work` returns in a process of its own.

    Args:
        work: what is done there.
        max_megapixels: the largest image, in million pixels, which decides on the memory.

    Raises:
        ImageError: `work` raised it, or used more time or memory than is allowed.
        OSError: another error, or a machine that is too busy; the image is not to blame.
    """
    # Every plugin now: a child that imports could wait for a thread that it does not have.
    Image.init()
    reader, writer = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if not child:
        run(work, writer, max_megapixels)
    os.close(writer)
    answer = None
    try:
        answer = read(reader)
    finally:
        os.close(reader)
        # One that has ended is not changed by it.
        os.kill(child, signal.SIGKILL)
        _, status, used = os.wait4(child, 0)
    cpu = used.ru_utime + used.ru_stime
    if answer is None and cpu < BUSY_CPU_SECONDS:
        raise TimeoutError(f"the machine is too busy: not decoded within {SECONDS} s")
    if answer is not None and status == signal.SIGKILL and cpu < CPU_SECONDS - 1:
        # Within its own limits: the container ran out of memory, and the kernel chose this process.
        raise OSError("the container ran out of memory while the image was decoded")
    if answer is None or status:
        raise ImageError(TOO_MUCH)
    kind, content = answer[:1], answer[1:]
    if kind == REFUSED:
        raise ImageError(content.decode())
    if kind == FAILED:
        raise OSError(content.decode())
    return content


def read(reader: int) -> bytes | None:
    """Return all that the child writes; None if it takes longer than SECONDS.

    Args:
        reader: the file descriptor of the pipe's end.
    """
    deadline = time.monotonic() + SECONDS
    blocks: list[bytes] = []
    while select.select([reader], [], [], max(0, deadline - time.monotonic()))[0]:
        block = os.read(reader, BLOCK)
        if not block:
            return b"".join(blocks)
        blocks.append(block)
    return None


def run(work: Callable[[], bytes], writer: int, max_megapixels: int) -> NoReturn:
    """Work in the child, write the answer, and end without a trace of the parent's clean-up.

    Args:
        work: what is done.
        writer: the file descriptor of the pipe's end.
        max_megapixels: the largest image, in million pixels.
    """
    status = 1
    try:
        # Should the parent be killed while this process waits.
        signal.setitimer(signal.ITIMER_REAL, SECONDS + 5)
        limit(max_megapixels)
        # The child must use neither the parent's connections nor its signal handlers.
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        answer = answer_of(work)
        while answer:
            answer = answer[os.write(writer, answer) :]
        status = 0
    finally:
        os._exit(status)


def limit(max_megapixels: int) -> None:
    """Limit this process; at the end of its time the kernel kills it.

    https://docs.python.org/3/library/resource.html#resource.setrlimit

    Args:
        max_megapixels: the largest image, in million pixels.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    pages = Path("/proc/self/statm")
    if pages.exists():
        present = int(pages.read_text().split()[0]) * resource.getpagesize()
        most = present + image_bytes(max_megapixels)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def answer_of(work: Callable[[], bytes]) -> bytes:
    """Return what `work` comes to: its kind, and its result or its error."""
    try:
        return DONE + work()
    except ImageError as error:
        return REFUSED + str(error).encode()
    except MemoryError:
        return REFUSED + TOO_MUCH.encode()
    except Exception as error:
        return FAILED + f"{type(error).__name__}: {error}".encode()
