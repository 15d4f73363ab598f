"""What is solved: cameras, boxes and the geometric reasoning module. Tensors only."""
