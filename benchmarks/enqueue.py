"""Durable enqueues a second: Seawall beside huey, both on SQLite, both fsynced.

    python benchmarks/enqueue.py [--quick]

1, 100 and 1,000 producers each enqueue one task after the other: coroutines for Seawall,
threads for huey, which is synchronous. Both write real functions with arguments through
their public interface, onto the same disk. The rounds of both alternate, so that a noisy
machine disturbs them alike; the table shows medians. No task is run.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from huey import SqliteHuey

from seawall.tasks import Tasks, TasksSettings

PRODUCERS = (1, 100, 1000)


def write_log(message: str) -> None:
    """The task; it is never run here."""


def seawall(folder: Path, producers: int, seconds: float) -> tuple[float, list[float]]:
    """Enqueues a second, and the seconds each took."""
    tasks = Tasks(TasksSettings(url=f"sqlite:///{folder / 'seawall.db'}", worker=False))
    tasks.open()
    took: list[float] = []

    async def produce(end: float) -> None:
        while (start := time.perf_counter()) < end:
            await tasks.enqueue([(write_log, ("message to a@example.com",), {})])
            took.append(time.perf_counter() - start)

    async def main() -> float:
        await tasks.enqueue([(write_log, ("warm",), {})])
        start = time.perf_counter()
        await asyncio.gather(*(produce(start + seconds) for _ in range(producers)))
        elapsed = time.perf_counter() - start
        await tasks.stop()
        return elapsed

    elapsed = asyncio.run(main())
    return len(took) / elapsed, took


def huey(folder: Path, producers: int, seconds: float) -> tuple[float, list[float]]:
    """The same through ``SqliteHuey(fsync=True)``."""
    app = SqliteHuey(filename=str(folder / "huey.db"), fsync=True, timeout=60)
    task = app.task()(write_log)
    took: list[float] = []
    ready = threading.Barrier(producers + 1)

    def produce() -> None:
        ready.wait()
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            task("message to a@example.com")
            took.append(time.perf_counter() - start)

    threads = [threading.Thread(target=produce) for _ in range(producers)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - start
    app.storage.close()
    return len(took) / elapsed, took


PEERS: dict[str, tuple[Callable[[Path, int, float], tuple[float, list[float]]], str]] = {
    "seawall": (seawall, "fsync before return, shared by all waiting; at least once"),
    "huey": (huey, "fsync before return, one each; deleted when claimed: at most once"),
}


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds, rough figures")
    parser.add_argument("--directory", help="the disk to measure (default: the temporary one)")
    options = parser.parse_args()
    rounds, seconds = (1, 0.5) if options.quick else (5, 2.0)

    print(f"{'producers':>9}  {'':8} {'enqueue/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'ratio':>7}")
    for producers in PRODUCERS:
        rates: dict[str, list[float]] = {name: [] for name in PEERS}
        times: dict[str, list[float]] = {name: [] for name in PEERS}
        for _ in range(rounds):
            for name, (run, _durability) in PEERS.items():
                folder = Path(tempfile.mkdtemp(prefix="enqueue-", dir=options.directory))
                try:
                    rate, took = run(folder, producers, seconds)
                finally:
                    shutil.rmtree(folder)
                rates[name].append(rate)
                times[name] += took
        base = statistics.median(rates["huey"])
        for name in PEERS:
            rate = statistics.median(rates[name])
            p50, p99 = (1000 * percentile(times[name], share) for share in (0.5, 0.99))
            print(
                f"{producers:>9,}  {name:8} {rate:>10,.0f} {p50:>8.2f} {p99:>8.2f} "
                f"{rate / base:>6.1f}x"
            )
    print()
    for name, (_, durability) in PEERS.items():
        print(f"{name}: {durability}")


if __name__ == "__main__":
    # By its own name: a task in __main__ could not be found by any other process.
    import enqueue

    enqueue.main()
