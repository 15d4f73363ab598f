"""Runtimes of the detector graph: PyTorch and OpenVINO."""
