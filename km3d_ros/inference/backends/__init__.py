"""What runs the graph: PyTorch, OpenVINO or ONNX Runtime (design, section 4)."""
