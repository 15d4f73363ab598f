# The wheels' <package>__rosidl_generator_py targets name include directories of the image that
# the wheels were built in (/opt/python/...), and CMake refuses an imported target whose include
# directory is missing. Nothing needs them: rosidl_generator_py finds the Python and NumPy headers
# of this machine by itself. So drop them at the end of the configuration, when the project has
# imported all its targets. Targets of an installed ROS distribution have no such directory.
include_guard(GLOBAL)

function(ros_wheels_drop_foreign_includes)
  get_property(targets DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(includes ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(includes MATCHES "/opt/python/")
      list(FILTER includes EXCLUDE REGEX "^/opt/python/")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${includes}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER CALL ros_wheels_drop_foreign_includes)
