import subprocess
import sys

BAG_LIBRARIES = ("rosbags", "mcap", "zstandard", "lz4", "av")


def test_camera_and_launch_file_of_the_demo_need_no_library_for_bags():
    program = (
        "import sys\n"
        f"for name in {BAG_LIBRARIES}: sys.modules[name] = None\n"
        "import km3d_ros.demo.town_camera, km3d_ros.demo.topics\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
