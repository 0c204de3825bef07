"""The types of single keys: their bounds, how they are read, and what the JSON schema says of them.

Rules: bounds are here, written forms in proxy.config.values; a bound that is not a matter of course
has its reason beside it.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le
from pydantic import AfterValidator, BeforeValidator, PlainValidator, WithJsonSchema

from proxy.config import values
from proxy.front import BindAddress
from proxy.upstream import ServerAddress

# Nobody waits for longer than a day; the bound keeps 1e300 out of the timers.
Seconds = Annotated[float, Gt(0), Le(86_400)]
# Ten minutes hold a handshake open longer than any client needs: the deadlines' horizon.
HandshakeSeconds = Annotated[float, Gt(0), Le(600)]
Count = Annotated[int, Ge(1), Le(10_000_000)]
CountOrNone = Annotated[int, Ge(0), Le(10_000_000)]
Processes = Annotated[int, Ge(1), Le(256)]
Share = Annotated[float, Gt(0), Le(1)]

_Bytes = Annotated[
    int,
    BeforeValidator(values.size_bytes),
    WithJsonSchema({"type": ["integer", "string"], "pattern": values.SIZE_PATTERN}),
]
Size = Annotated[_Bytes, Ge(1), Le(1 << 50)]
# A TLS record's header and a hello's are 9 bytes; RFC 8446's length field ends at 2^24 - 1.
HelloSize = Annotated[_Bytes, Ge(512), Le((1 << 24) - 1)]

_TEXT = WithJsonSchema({"type": "string"})
Address = Annotated[BindAddress, PlainValidator(values.bind_address), _TEXT]
TcpAddress = Annotated[BindAddress, PlainValidator(values.tcp_address), _TEXT]
Network = Annotated[IPv4Network | IPv6Network, PlainValidator(values.source_network), _TEXT]
ServerUrl = Annotated[
    ServerAddress,
    PlainValidator(values.server_url),
    WithJsonSchema({"type": "string", "pattern": "^https?://"}),
]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(values.worker_count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Label = Annotated[str, AfterValidator(values.label)]
ServerName = Annotated[str, AfterValidator(values.server_name)]
HostPattern = Annotated[str, AfterValidator(values.host_pattern)]
HostName = Annotated[str, AfterValidator(values.host_name)]
PathPrefix = Annotated[str, AfterValidator(values.path_prefix)]
FilePath = Annotated[str, AfterValidator(values.file_path)]
EnvironmentName = Annotated[str, AfterValidator(values.environment_name)]
ProtocolName = Annotated[str, AfterValidator(values.application_protocol)]
Token = Annotated[str, AfterValidator(values.token)]
