"""From an image and its camera to detections; without ROS."""
