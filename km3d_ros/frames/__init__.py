"""A ROS image or CameraInfo as arrays; needs no rclpy."""
