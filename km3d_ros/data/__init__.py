"""What is read from disk: KITTI folders, COCO files, images, camera files and images of bags."""
