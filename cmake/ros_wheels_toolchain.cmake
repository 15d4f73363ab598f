# Toolchain file for building against the ROS 2 wheels of PyPI. It chooses no compiler: it only
# hooks ros_wheels_fix.cmake into every project() of a stock `colcon build`.
set(CMAKE_PROJECT_INCLUDE "${CMAKE_CURRENT_LIST_DIR}/ros_wheels_fix.cmake")
