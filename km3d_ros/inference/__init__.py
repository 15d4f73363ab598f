"""An image and a camera in, detections out."""
