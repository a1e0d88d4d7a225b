"""Durable background tasks. ``seawall.tasks.durable`` hooks them into an app."""

from seawall.tasks.engine import Capabilities, Engine
from seawall.tasks.job import Attempt, Call, Job, Outcome, State
from seawall.tasks.runtime import Tasks
from seawall.tasks.settings import TasksSettings
from seawall.tasks.worker import Worker

__all__ = [
    "Attempt",
    "Call",
    "Capabilities",
    "Engine",
    "Job",
    "Outcome",
    "State",
    "Tasks",
    "TasksSettings",
    "Worker",
]
