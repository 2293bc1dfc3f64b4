"""As much of a message of Kafka as a packer looks at."""

from typing import NamedTuple


class Fetched(NamedTuple):
    """A message that was fetched; Kafka's time is its offset."""

    at: int
    data: bytes

    def __len__(self) -> int:
        return len(self.data)

    def value(self) -> bytes:
        return self.data

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at

    def headers(self) -> None:
        return None
