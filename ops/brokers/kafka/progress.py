"""How far a worker is with the partitions that it reads."""

import threading

# A topic, and a partition's number.
Partition = tuple[str, int]


class PartitionProgress:
    """How far one partition is done: up to the first message that is not.

    An offset is a message's number in its partition; a position is the offset of the next message.
    """

    def __init__(self) -> None:
        """Begin with nothing fetched."""
        self.open: set[int] = set()
        self.next = 0

    def fetched(self, offset: int) -> None:
        """Note a message that a worker has now."""
        self.open.add(offset)
        # In order; lower than the one before only where Kafka has lost its log.
        self.next = offset + 1

    def done(self, offset: int) -> int:
        """Note that the message at an offset is done; return the position to commit."""
        self.open.discard(offset)
        return min(self.open, default=self.next)


class Positions:
    """All partitions' progress, and what of it Kafka does not know yet.

    Partitions are numbered from 0; offsets and positions are those of PartitionProgress. Messages
    are fetched by the worker's main thread, and done in its pool's.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.progress: dict[Partition, PartitionProgress] = {}
        self.owed: dict[Partition, int] = {}
        self.lock = threading.Lock()

    def fetched(self, topic: str, partition: int, offset: int) -> None:
        """Note a message that a worker has now."""
        with self.lock:
            self.progress.setdefault((topic, partition), PartitionProgress()).fetched(offset)

    def done(self, topic: str, partition: int, offset: int) -> None:
        """Note that a message is done, and that Kafka does not know its position yet."""
        with self.lock:
            # Without it the partition is another's by now, who is given the message too.
            if progress := self.progress.get((topic, partition)):
                self.owed[topic, partition] = progress.done(offset)

    def uncommitted(self, topic: str) -> list[tuple[int, int]]:
        """Return a topic's partitions and positions that Kafka has not confirmed."""
        with self.lock:
            return [(key[1], end) for key, end in self.owed.items() if key[0] == topic]

    def confirmed(self, topic: str, partition: int, position: int) -> None:
        """Note that Kafka has stored a position, unless a later one waits by now."""
        with self.lock:
            if self.owed.get((topic, partition)) == position:
                del self.owed[topic, partition]

    def forget(self, topic: str, partition: int) -> None:
        """Drop a partition that another worker reads now."""
        with self.lock:
            self.progress.pop((topic, partition), None)
            self.owed.pop((topic, partition), None)
