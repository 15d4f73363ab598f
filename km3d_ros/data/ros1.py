"""ROS 1 messages as ROS 2 messages."""

from __future__ import annotations

from rosbags.convert.converter import is_same_wireformat, migrate_bytes
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

_RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}


class Ros1Converter:
    """Converts serialised messages of a ROS 1 bag.

    Types that ROS 2 has, too, become those of ROS 2: std_msgs/Header loses `seq`, and the D, K, R
    and P of CameraInfo become d, k, r and p. Other types keep their fields.

    types: the ROS 2 types, with those of the messages that were converted so far.
    """

    def __init__(self, source: Typestore) -> None:
        """source: the types of the bag."""
        self.types = get_typestore(Stores.LATEST)
        self._source = source
        self._same: dict[str, bool] = {}
        self._defaults: dict[str, object] = {}

    def type_of(self, source_type: str) -> str:
        """The name of the ROS 2 type for a ROS 1 type, both such as sensor_msgs/msg/Image."""
        name = _RENAMED.get(source_type, source_type)
        if source_type not in self._same:
            if name not in self.types.fielddefs:
                definition, _ = self._source.generate_msgdef(source_type, ros_version=2)
                found = get_types_from_msg(definition, name)
                known = self.types.fielddefs
                self.types.register({key: found[key] for key in found if key not in known})
            self._same[source_type] = is_same_wireformat(
                self._source, self.types, source_type, name
            )
        return name

    def __call__(self, source_type: str, data: bytes) -> bytes:
        """A message of this type, serialised as ROS 2 does it (CDR).

        Raises:
            Exception: the message is damaged, or its type cannot be converted; rosbags has no
                common class for it.
        """
        name = self.type_of(source_type)
        if self._same[source_type]:
            return bytes(self.types.ros1_to_cdr(data, name))
        return bytes(
            migrate_bytes(
                self._source,
                self.types,
                source_type,
                name,
                self._defaults,
                data,
                src_is2=False,
                dst_is2=True,
            )
        )
