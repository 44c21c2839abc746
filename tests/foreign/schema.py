"""HPE's protobuf messages, made at run time from the tables of compat/01, sections 6 and 7."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
INT32, BOOL, STRING, FLOAT = F.TYPE_INT32, F.TYPE_BOOL, F.TYPE_STRING, F.TYPE_FLOAT
UINT32, BYTES, FIXED32 = F.TYPE_UINT32, F.TYPE_BYTES, F.TYPE_FIXED32

_SEQUENCE = [("sessionID", STRING), ("syncSeqNum", INT32)]
MESSAGES = {
    "APIVersion": [("apiVersion", FIXED32), ("minVersion", FIXED32)],
    "Header": [("apiVersion", "APIVersion"), ("msgType", FIXED32), ("msgSize", FIXED32)],
    "NDArray": [("dtype", STRING), ("shape", [UINT32]), ("data", BYTES)],
    "Weights": [("weights", {"NDArray"})],
    "Status": [("code", "Status.StatusCode"), ("msg", STRING)],
    "SessionRequest": [
        ("syncInterval", INT32), ("minPeers", INT32), ("maxPeers", INT32),
        ("useAdaptiveSync", BOOL), ("checkinModelOnTrainEnd", STRING), ("nodeWeightage", INT32),
        ("trainingContract", STRING), ("mergeMethod", STRING),
    ],
    "SessionResponse": [("status", "Status"), ("sessionID", STRING)],
    "SyncRequest": [*_SEQUENCE, ("nodeWeightage", INT32), ("numberOfNodes", INT32), "SYNC"],
    "SyncResponse": [
        *_SEQUENCE, ("status", "Status"), ("nextSyncInterval", INT32), ("trainingOver", BOOL),
    ],
    "LossRequest": [*_SEQUENCE, ("lossSeqNum", INT32), "LOSS"],
    "LossResponse": [
        *_SEQUENCE, ("lossSeqNum", INT32), ("status", "Status"), ("loss", FLOAT),
        ("metrics", FLOAT), ("epochsdone", INT32), ("totalepochs", INT32),
    ],
    "KillSessionRequest": [("sessionID", STRING), ("reason", "Status")],
}  # fmt: skip
IN_BAND = {"SYNC": ("inputParams", "Weights"), "LOSS": ("mergedParams", "Weights")}
IN_FILES = {"SYNC": ("fileName", STRING), "LOSS": ("fileName", STRING)}
BODIES = (
    "Status", "SessionRequest", "SessionResponse", "SyncRequest", "SyncResponse", "SyncRequest",
    "SyncResponse", "LossRequest", "LossResponse", "KillSessionRequest",
)  # fmt: skip
"""Message types 1 to 10."""
STATUS, OPEN, OPENED, CLOSE, CLOSED, SYNC, SYNCED, LOSS, LOST, KILL = range(1, 11)


def messages(api):
    """Message name -> class, of wheel ``api`` ("2.2" or "2.3")."""
    variant = IN_BAND if api == "2.2" else IN_FILES
    file = descriptor_pb2.FileDescriptorProto(name=f"swifrpc-{api}.proto", syntax="proto3")
    for name, listed in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, each in enumerate(listed, 1):
            field, kind = variant[each] if isinstance(each, str) else each
            _add(message, field, number, kind)
    code = next(m for m in file.message_type if m.name == "Status").enum_type.add(name="StatusCode")
    for number, name in enumerate(("StatusOK", "ErrorInSL", "ErrorInUser", "ErrorOthers")):
        code.value.add(name=name, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if not hasattr(pool, "AddSerializedFile") else pool.AddSerializedFile(
        file.SerializeToString()
    )
    return {name: _class(pool, name) for name in MESSAGES}


def _add(message, name, number, kind):
    field = message.field.add(name=name, number=number, label=F.LABEL_OPTIONAL)
    if isinstance(kind, set):  # a map from text
        entry = message.nested_type.add(name="WeightsEntry")
        entry.options.map_entry = True
        _add(entry, "key", 1, STRING)
        _add(entry, "value", 2, next(iter(kind)))
        field.label, field.type = F.LABEL_REPEATED, F.TYPE_MESSAGE
        field.type_name = f".{message.name}.WeightsEntry"
    elif isinstance(kind, list):
        field.label, field.type = F.LABEL_REPEATED, kind[0]
    elif isinstance(kind, str):
        field.type = F.TYPE_ENUM if "." in kind else F.TYPE_MESSAGE
        field.type_name = "." + kind
    else:
        field.type = kind


def _class(pool, name):
    found = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(found)
    return message_factory.MessageFactory(pool).GetPrototype(found)  # protobuf 3.20
