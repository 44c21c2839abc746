from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KillSessionRequest(_message.Message):
    __slots__ = ["reason", "sessionID"]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    reason: Status
    sessionID: str
    def __init__(self, sessionID: _Optional[str] = ..., reason: _Optional[_Union[Status, _Mapping]] = ...) -> None: ...

class LossRequest(_message.Message):
    __slots__ = ["fileName", "lossSeqNum", "sessionID", "syncSeqNum"]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    LOSSSEQNUM_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    SYNCSEQNUM_FIELD_NUMBER: _ClassVar[int]
    fileName: str
    lossSeqNum: int
    sessionID: str
    syncSeqNum: int
    def __init__(self, sessionID: _Optional[str] = ..., syncSeqNum: _Optional[int] = ..., lossSeqNum: _Optional[int] = ..., fileName: _Optional[str] = ...) -> None: ...

class LossResponse(_message.Message):
    __slots__ = ["epochsdone", "loss", "lossSeqNum", "metrics", "sessionID", "status", "syncSeqNum", "totalepochs"]
    EPOCHSDONE_FIELD_NUMBER: _ClassVar[int]
    LOSSSEQNUM_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SYNCSEQNUM_FIELD_NUMBER: _ClassVar[int]
    TOTALEPOCHS_FIELD_NUMBER: _ClassVar[int]
    epochsdone: int
    loss: float
    lossSeqNum: int
    metrics: float
    sessionID: str
    status: Status
    syncSeqNum: int
    totalepochs: int
    def __init__(self, sessionID: _Optional[str] = ..., syncSeqNum: _Optional[int] = ..., lossSeqNum: _Optional[int] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., loss: _Optional[float] = ..., metrics: _Optional[float] = ..., epochsdone: _Optional[int] = ..., totalepochs: _Optional[int] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ["checkinModelOnTrainEnd", "maxPeers", "mergeMethod", "minPeers", "nodeWeightage", "syncInterval", "trainingContract", "useAdaptiveSync"]
    CHECKINMODELONTRAINEND_FIELD_NUMBER: _ClassVar[int]
    MAXPEERS_FIELD_NUMBER: _ClassVar[int]
    MERGEMETHOD_FIELD_NUMBER: _ClassVar[int]
    MINPEERS_FIELD_NUMBER: _ClassVar[int]
    NODEWEIGHTAGE_FIELD_NUMBER: _ClassVar[int]
    SYNCINTERVAL_FIELD_NUMBER: _ClassVar[int]
    TRAININGCONTRACT_FIELD_NUMBER: _ClassVar[int]
    USEADAPTIVESYNC_FIELD_NUMBER: _ClassVar[int]
    checkinModelOnTrainEnd: str
    maxPeers: int
    mergeMethod: str
    minPeers: int
    nodeWeightage: int
    syncInterval: int
    trainingContract: str
    useAdaptiveSync: bool
    def __init__(self, syncInterval: _Optional[int] = ..., minPeers: _Optional[int] = ..., maxPeers: _Optional[int] = ..., useAdaptiveSync: bool = ..., checkinModelOnTrainEnd: _Optional[str] = ..., nodeWeightage: _Optional[int] = ..., trainingContract: _Optional[str] = ..., mergeMethod: _Optional[str] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ["epochsdone", "sessionID", "status"]
    EPOCHSDONE_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    epochsdone: int
    sessionID: str
    status: Status
    def __init__(self, status: _Optional[_Union[Status, _Mapping]] = ..., sessionID: _Optional[str] = ..., epochsdone: _Optional[int] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ["code", "msg"]
    class StatusCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    CODE_FIELD_NUMBER: _ClassVar[int]
    ErrorInSL: Status.StatusCode
    ErrorInUser: Status.StatusCode
    ErrorOthers: Status.StatusCode
    MSG_FIELD_NUMBER: _ClassVar[int]
    StatusOK: Status.StatusCode
    code: Status.StatusCode
    msg: str
    def __init__(self, code: _Optional[_Union[Status.StatusCode, str]] = ..., msg: _Optional[str] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ["fileName", "nodeWeightage", "numberOfNodes", "sessionID", "syncSeqNum"]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    NODEWEIGHTAGE_FIELD_NUMBER: _ClassVar[int]
    NUMBEROFNODES_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    SYNCSEQNUM_FIELD_NUMBER: _ClassVar[int]
    fileName: str
    nodeWeightage: int
    numberOfNodes: int
    sessionID: str
    syncSeqNum: int
    def __init__(self, sessionID: _Optional[str] = ..., syncSeqNum: _Optional[int] = ..., nodeWeightage: _Optional[int] = ..., numberOfNodes: _Optional[int] = ..., fileName: _Optional[str] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ["nextSyncInterval", "sessionID", "status", "syncSeqNum", "trainingOver"]
    NEXTSYNCINTERVAL_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SYNCSEQNUM_FIELD_NUMBER: _ClassVar[int]
    TRAININGOVER_FIELD_NUMBER: _ClassVar[int]
    nextSyncInterval: int
    sessionID: str
    status: Status
    syncSeqNum: int
    trainingOver: bool
    def __init__(self, sessionID: _Optional[str] = ..., syncSeqNum: _Optional[int] = ..., status: _Optional[_Union[Status, _Mapping]] = ..., nextSyncInterval: _Optional[int] = ..., trainingOver: bool = ...) -> None: ...
