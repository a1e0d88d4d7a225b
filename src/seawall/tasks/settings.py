"""The settings of durable tasks, ``[tool.seawall.tasks]``."""

from typing import Literal

from pydantic import Field, field_validator

from seawall.section import Section
from seawall.tasks import engines


class TasksSettings(Section):
    """Background tasks that survive crashes and deploys."""

    enabled: bool = True
    """Make background tasks durable."""
    url: str = "sqlite:///seawall.db"
    """Where tasks are kept. `sqlite:///seawall.db` is relative to the working directory,
    `sqlite:////var/lib/app/seawall.db` absolute."""
    undurable: Literal["run", "refuse"] = "run"
    """What becomes of a task that cannot be written down: `run` it in the process, once and
    with a warning, or `refuse` the request."""
    worker: bool = True
    """Run tasks in the web process."""
    concurrency: int = Field(8, ge=1, le=1000)
    """Tasks that a worker runs at once."""
    lease: float = Field(5.0, ge=0.1, le=86400, allow_inf_nan=False)
    """Seconds of silence after which a worker counts as dead and its tasks run again."""
    retries: int = Field(3, ge=0, le=1_000_000)
    """How often a failed task is tried again before it is kept as dead."""
    retention: float = Field(604800.0, ge=0, le=3_153_600_000, allow_inf_nan=False)
    """Seconds for which finished tasks are kept to look at."""
    drain: float = Field(30.0, ge=0, le=86400, allow_inf_nan=False)
    """Seconds that running tasks are given at shutdown before they are handed back."""

    @field_validator("url")
    @classmethod
    def _known(cls, url: str) -> str:
        engines.create(url)
        return url
