"""What is learned: backbones, heads and their checkpoints."""
