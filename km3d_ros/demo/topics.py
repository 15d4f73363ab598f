"""Topics of the demo, the frame of its camera, and where Fast DDS reads its profile."""

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from km3d_ros.msg import FrameTiming, KeypointDetectionArray

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Environment variables that name the profile: of Fast DDS 3 and of Fast DDS 2."""

FRAME_ID = "camera"
IMAGE = "/image"
CAMERA_INFO = "/camera_info"
DETECTIONS = "/km3d/detections"
OBJECTS = "/km3d/objects"
TIMING = "/km3d/timing"
DIAGNOSTICS = "/diagnostics"

RECORDED = {
    IMAGE: Image,
    CAMERA_INFO: CameraInfo,
    DETECTIONS: Detection3DArray,
    OBJECTS: KeypointDetectionArray,
    "/km3d/markers": MarkerArray,
    TIMING: FrameTiming,
    DIAGNOSTICS: DiagnosticArray,
}
"""Topics in the recording of a demo."""

ANSWERS = (DETECTIONS, OBJECTS, TIMING)
"""One message each for every answered frame."""
