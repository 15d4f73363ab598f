"""Boxes drawn on images and from above."""
