"""The version of the package.

It has a module of its own because __init__.py may be replaced: the message generator installs an
empty one into the same package, and ament_cmake_python 2.8.7 and newer do so last.
"""

__version__ = "0.1.0"
