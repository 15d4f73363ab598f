"""Where truth comes from: KITTI-format folders and the Town renderer."""
