"""Topics of the demo, the frames of its vehicle, and where Fast DDS reads its profile."""

from math import pi

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.msg import FrameTiming, KeypointDetectionArray, TrackedObjectArray

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Environment variables that name the profile: of Fast DDS 3 and of Fast DDS 2."""

FRAME_ID = "camera"
BASE_FRAME = "base_link"
MOUNT = f"{FRAME_ID} 0 0 1.65 {-pi / 2} 0 {-pi / 2}"
"""Of the camera on the vehicle, as the parameter `mounts` of the tracker has it."""
IMAGE = "/image"
CAMERA_INFO = "/camera_info"
DETECTIONS = "/km3d/detections"
OBJECTS = "/km3d/objects"
TIMING = "/km3d/timing"
DIAGNOSTICS = "/diagnostics"
ODOMETRY = "/odometry"
TRACKS = "/km3d_tracker/tracks"
TRACKED_OBJECTS = "/km3d_tracker/objects"

RECORDED = {
    IMAGE: Image,
    CAMERA_INFO: CameraInfo,
    DETECTIONS: Detection3DArray,
    OBJECTS: KeypointDetectionArray,
    "/km3d/markers": MarkerArray,
    TIMING: FrameTiming,
    DIAGNOSTICS: DiagnosticArray,
    ODOMETRY: Odometry,
    TRACKS: Detection3DArray,
    TRACKED_OBJECTS: TrackedObjectArray,
    "/km3d_tracker/markers": MarkerArray,
}
"""Topics in the recording of a demo."""

ANSWERS = (DETECTIONS, OBJECTS, TIMING, TRACKED_OBJECTS)
"""One message each for every answered frame."""
