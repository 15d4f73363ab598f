"""Objects over time: association, filtering, identity; no ROS, no PyTorch."""
