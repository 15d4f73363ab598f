"""Tracking of objects over time: association, filter and ids; without rclpy and PyTorch."""
