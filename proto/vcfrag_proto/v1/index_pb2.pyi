from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Identity(_message.Message):
    __slots__ = ("panel", "split", "mask", "metric", "layout")
    PANEL_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MASK_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    panel: str
    split: str
    mask: str
    metric: str
    layout: str
    def __init__(self, panel: _Optional[str] = ..., split: _Optional[str] = ..., mask: _Optional[str] = ..., metric: _Optional[str] = ..., layout: _Optional[str] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("name", "reference", "held_out", "groups")
    class GroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    HELD_OUT_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    reference: _containers.RepeatedScalarFieldContainer[str]
    held_out: _containers.RepeatedScalarFieldContainer[str]
    groups: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., reference: _Optional[_Iterable[str]] = ..., held_out: _Optional[_Iterable[str]] = ..., groups: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Layout(_message.Message):
    __slots__ = ("n_sites", "lengths", "min_observed")
    N_SITES_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    MIN_OBSERVED_FIELD_NUMBER: _ClassVar[int]
    n_sites: int
    lengths: _containers.RepeatedScalarFieldContainer[int]
    min_observed: int
    def __init__(self, n_sites: _Optional[int] = ..., lengths: _Optional[_Iterable[int]] = ..., min_observed: _Optional[int] = ...) -> None: ...

class OpenIndexRequest(_message.Message):
    __slots__ = ("panel", "identity", "split", "layout", "observed", "weights")
    PANEL_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    panel: str
    identity: Identity
    split: Split
    layout: Layout
    observed: bytes
    weights: bytes
    def __init__(self, panel: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., split: _Optional[_Union[Split, _Mapping]] = ..., layout: _Optional[_Union[Layout, _Mapping]] = ..., observed: _Optional[bytes] = ..., weights: _Optional[bytes] = ...) -> None: ...

class OpenIndexReply(_message.Message):
    __slots__ = ("handle", "identity", "already_open")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ALREADY_OPEN_FIELD_NUMBER: _ClassVar[int]
    handle: str
    identity: Identity
    already_open: bool
    def __init__(self, handle: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., already_open: bool = ...) -> None: ...

class PrepareIndexRequest(_message.Message):
    __slots__ = ("handle", "identity", "start", "stop")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    handle: str
    identity: Identity
    start: int
    stop: int
    def __init__(self, handle: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ...) -> None: ...

class PrepareIndexProgress(_message.Message):
    __slots__ = ("segments_done", "segments_total", "bytes")
    SEGMENTS_DONE_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    segments_done: int
    segments_total: int
    bytes: int
    def __init__(self, segments_done: _Optional[int] = ..., segments_total: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class QuerySample(_message.Message):
    __slots__ = ("name", "external")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    external: bool
    def __init__(self, name: _Optional[str] = ..., external: bool = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("handle", "identity", "start", "stop", "k", "samples", "observed", "missing", "alleles")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    ALLELES_FIELD_NUMBER: _ClassVar[int]
    handle: str
    identity: Identity
    start: int
    stop: int
    k: int
    samples: _containers.RepeatedCompositeFieldContainer[QuerySample]
    observed: bytes
    missing: bytes
    alleles: bytes
    def __init__(self, handle: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., k: _Optional[int] = ..., samples: _Optional[_Iterable[_Union[QuerySample, _Mapping]]] = ..., observed: _Optional[bytes] = ..., missing: _Optional[bytes] = ..., alleles: _Optional[bytes] = ...) -> None: ...

class SearchReply(_message.Message):
    __slots__ = ("identity", "starts", "stops", "scales", "ids", "distances", "k", "queue_seconds", "search_seconds", "build_seconds")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    STOPS_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BUILD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    identity: Identity
    starts: bytes
    stops: bytes
    scales: bytes
    ids: bytes
    distances: bytes
    k: int
    queue_seconds: float
    search_seconds: float
    build_seconds: float
    def __init__(self, identity: _Optional[_Union[Identity, _Mapping]] = ..., starts: _Optional[bytes] = ..., stops: _Optional[bytes] = ..., scales: _Optional[bytes] = ..., ids: _Optional[bytes] = ..., distances: _Optional[bytes] = ..., k: _Optional[int] = ..., queue_seconds: _Optional[float] = ..., search_seconds: _Optional[float] = ..., build_seconds: _Optional[float] = ...) -> None: ...

class ListIndexesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class IndexInfo(_message.Message):
    __slots__ = ("handle", "panel", "split", "identity", "segments", "bytes", "searches")
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    PANEL_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    handle: str
    panel: str
    split: str
    identity: Identity
    segments: int
    bytes: int
    searches: int
    def __init__(self, handle: _Optional[str] = ..., panel: _Optional[str] = ..., split: _Optional[str] = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., segments: _Optional[int] = ..., bytes: _Optional[int] = ..., searches: _Optional[int] = ...) -> None: ...

class ListIndexesReply(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedCompositeFieldContainer[IndexInfo]
    def __init__(self, indexes: _Optional[_Iterable[_Union[IndexInfo, _Mapping]]] = ...) -> None: ...

class CloseIndexRequest(_message.Message):
    __slots__ = ("handle",)
    HANDLE_FIELD_NUMBER: _ClassVar[int]
    handle: str
    def __init__(self, handle: _Optional[str] = ...) -> None: ...

class CloseIndexReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PanelInfo(_message.Message):
    __slots__ = ("name", "digest", "contig", "n_sites", "n_samples", "ready")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONTIG_FIELD_NUMBER: _ClassVar[int]
    N_SITES_FIELD_NUMBER: _ClassVar[int]
    N_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    name: str
    digest: str
    contig: str
    n_sites: int
    n_samples: int
    ready: bool
    def __init__(self, name: _Optional[str] = ..., digest: _Optional[str] = ..., contig: _Optional[str] = ..., n_sites: _Optional[int] = ..., n_samples: _Optional[int] = ..., ready: bool = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_k", "memory_budget_bytes", "max_queued_work", "max_open_indexes", "max_missing_share")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_K_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_QUEUED_WORK_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_INDEXES_FIELD_NUMBER: _ClassVar[int]
    MAX_MISSING_SHARE_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_k: int
    memory_budget_bytes: int
    max_queued_work: int
    max_open_indexes: int
    max_missing_share: float
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_k: _Optional[int] = ..., memory_budget_bytes: _Optional[int] = ..., max_queued_work: _Optional[int] = ..., max_open_indexes: _Optional[int] = ..., max_missing_share: _Optional[float] = ...) -> None: ...

class InfoReply(_message.Message):
    __slots__ = ("panels", "limits", "engine", "devices", "versions", "instance")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PANELS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    panels: _containers.RepeatedCompositeFieldContainer[PanelInfo]
    limits: Limits
    engine: str
    devices: _containers.RepeatedScalarFieldContainer[str]
    versions: _containers.ScalarMap[str, str]
    instance: str
    def __init__(self, panels: _Optional[_Iterable[_Union[PanelInfo, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., engine: _Optional[str] = ..., devices: _Optional[_Iterable[str]] = ..., versions: _Optional[_Mapping[str, str]] = ..., instance: _Optional[str] = ...) -> None: ...
