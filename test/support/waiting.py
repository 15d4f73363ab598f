"""Waiting for what other threads and processes do, without sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 60.0
RETRY = 5.0


def spin_until(executor, condition: Callable[[], bool]) -> None:
    """Serve callbacks until the condition holds; fail if it does not within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        executor.spin_once(timeout_sec=0.02)


def call(executor, node, service_type: type, name: str, request):
    """Call a service from a node of the executor; returns the response.

    A response that is sent before the server's side has found the client is lost: ask again.
    """
    client = node.create_client(service_type, name)
    spin_until(executor, client.service_is_ready)
    start, futures = time.monotonic(), []

    def answered() -> bool:
        if time.monotonic() > len(futures) * RETRY + start:
            futures.append(client.call_async(request))
        return any(future.done() for future in futures)

    spin_until(executor, answered)
    node.destroy_client(client)
    return next(future.result() for future in futures if future.done())
