"""Running a lifecycle node as a program."""

from __future__ import annotations

from collections.abc import Callable

import rclpy
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from km3d_ros.node.lifecycle import ManagedNode


def run(create: Callable[[], ManagedNode], name: str) -> int:
    """Run a node until a signal or an error stops it; returns the exit code.

    rclpy is initialised; it is shut down at the end.

    create: returns the node. name: of the logger.
    """
    try:
        return _run(create, name)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except Exception:
        # A signal shuts the context down, which makes calls of rclpy raise. That is not an error.
        if rclpy.ok():
            raise
        return 0
    finally:
        rclpy.try_shutdown()


def _run(create: Callable[[], ManagedNode], name: str) -> int:
    executor = SingleThreadedExecutor()
    logger = rclpy.logging.get_logger(name)
    try:
        node = create()
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        logger.fatal(str(error))
        return 1
    executor.add_node(node)
    try:
        if not node.autostart() and rclpy.ok():
            return 1
        while rclpy.ok():
            try:
                executor.spin()
            # rclpy raises this for a request with a parameter of an unknown type.
            except ValueError as error:
                logger.error(f"a request makes no sense: {error}")
    finally:
        node.destroy_node()
    return 0
