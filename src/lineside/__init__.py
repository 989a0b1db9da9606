"""Improved YOLO11 instance segmentation on the factory line."""
