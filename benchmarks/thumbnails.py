"""How many thumbnails a process of the worker makes in a second."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.release import ReleaseStack

JOBS = 100
WAIT_SECONDS = 300
# Tasks are queued while no worker runs, so that it never waits for one. The image has a
# telephone's twelve megapixels; the noise in it keeps it as large as a photograph.
QUEUE = f"""
import io
import django
django.setup()
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile
from PIL import Image
from demo.uploads import images
from demo.intake import store_upload
file = io.BytesIO()
noise = Image.effect_noise((1000, 750), 60).resize((4000, 3000)).convert("RGB")
noise.save(file, "JPEG", quality=85)
owner = get_user_model().objects.create_user("bench")
seen = images.examine(file, 40)
for number in range({JOBS}):
    store_upload(owner, ContentFile(file.getvalue(), f"{{number}}.jpg"), seen)
print(len(file.getvalue()))
"""
RESULT = f"""
import json, time
import django
django.setup()
from django.db.models import Max, Min
from demo.models import Upload
deadline = time.monotonic() + {WAIT_SECONDS}
open_jobs = Upload.objects.filter(status__in=("queued", "running"))
while open_jobs.exists() and time.monotonic() < deadline:
    time.sleep(0.2)
done = Upload.objects.filter(status="done")
times = done.aggregate(first=Min("started"), last=Max("finished"))
seconds = (times["last"] - times["first"]).total_seconds() if times["last"] else 0
print(json.dumps({{"done": done.count(), "seconds": seconds}}))
"""
PROCESSES = "python -m ops.environment get WORKER_CONCURRENCY"


@dataclass(frozen=True)
class Thumbnails:
    """What the worker did with the jobs that had piled up.

    Attributes:
        jobs: how many were queued.
        done: how many of them became a thumbnail.
        seconds: from the first job's start to the last one's end.
        processes: the worker's, side by side.
        image_bytes: the size of each image.

    """

    jobs: int
    done: int
    seconds: float
    processes: int
    image_bytes: int

    @property
    def per_second(self) -> float:
        """Thumbnails a second of each process."""
        return self.done / self.seconds / self.processes if self.seconds else 0.0

    @property
    def lost(self) -> int:
        """Jobs that did not become a thumbnail in time."""
        return self.jobs - self.done

    def as_text(self) -> str:
        """Return the figures for people."""
        return (
            f"Worker: {self.per_second:.1f} thumbnails a second in each of {self.processes} "
            f"processes ({self.done} of {self.jobs} images of 12 megapixels, "
            f"{self.image_bytes / 1e6:.1f} MB)"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {**asdict(self), "per_second": self.per_second}


def measure_thumbnails(stack: ReleaseStack, say: Callable[[str], None]) -> Thumbnails:
    """Queue images while the worker is stopped, start it, and time it.

    Args:
        stack: the running stack.
        say: receives progress messages.

    Raises:
        EngineError: a container command failed.

    """
    say(f"Making {JOBS} thumbnails in the worker of a whole stack.")
    stack.compose("stop", "worker")
    size = int(stack.python(QUEUE).split()[-1])
    stack.compose("start", "worker")
    result = json.loads(stack.python(RESULT).splitlines()[-1])
    processes = int(stack.compose("exec", "-T", "worker", *PROCESSES.split()))
    return Thumbnails(JOBS, result["done"], result["seconds"], processes, size)
