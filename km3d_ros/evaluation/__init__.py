"""Average precision and error statistics on KITTI-format folders."""
