"""What the server remembers of each request, and the sums per label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.upstream.gemini_path import is_generate

BILLED = frozenset({"/v1/messages", "/v1/chat/completions", "/v1/responses"})
HIDDEN = frozenset({"x-api-key", "x-goog-api-key", "authorization", "cookie", "proxy-authorization"})


def no_usage() -> dict[str, Any]:
    """A usage object of zeros, in the shape of Messages, which records of every API have."""
    return {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 0,
        "service_tier": "standard",
    }


def query_of(path: str) -> str:
    """The query behind a path, without a credential."""
    return urlencode([(name, value) for name, value in parse_qsl(urlsplit(path).query) if name != "key"])


@dataclass(slots=True)
class Record:
    """One request. `time` is epoch seconds on the request's clock, `dollars` its bill, `prefix_kept` the share (0..1,
    by bytes) of the label's previous prompt that this one begins with, None for the first. `violation` holds the text
    of a 400; `headers` are lower-case and, as `query`, without credentials."""

    n: int
    label: str
    path: str
    time: float
    status: int
    headers: dict[str, str] = field(repr=False)
    size: int = 0
    query: str = ""
    violation: str | None = None
    model: str = ""
    stream: bool = False
    turn: int = 0
    usage: dict[str, Any] = field(default_factory=no_usage)
    dollars: float = 0.0
    whole: bool = False
    """Whether all of the answer was sent to somebody, who was told what it costs."""
    prefix_kept: float | None = None
    dropped: list[str] = field(default_factory=list)
    cleared: int = 0
    """How many tool uses the model was not shown the results of, as was asked."""
    content: list[dict[str, Any]] | None = field(default=None, repr=False)
    kept: bytes | None = field(default=None, repr=False)

    @property
    def body(self) -> bytes:
        """The request body as received. LookupError when the server was told to keep fewer bodies."""
        if self.kept is None:
            raise LookupError(f"body of request {self.n} was not kept; see keep_bodies")
        return self.kept

    def as_dict(self) -> dict[str, Any]:
        """JSON without the body and the answer's content."""
        rest = asdict(self)
        del rest["kept"], rest["content"]
        return rest


@dataclass(slots=True)
class Totals:
    """Sums over requests: counts, tokens, dollars. `errors` are scripted failures, `invalid` requests answered 400."""

    requests: int = 0
    invalid: int = 0
    errors: int = 0
    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0
    output_tokens: int = 0
    dollars: float = 0.0

    @property
    def prompt_tokens(self) -> int:
        """Everything sent, however it was billed."""
        written = self.ephemeral_5m_input_tokens + self.ephemeral_1h_input_tokens
        return self.input_tokens + self.cache_read_input_tokens + written

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"prompt_tokens": self.prompt_tokens}


def totals(records: Iterable[Record]) -> Totals:
    """Sum up the requests that are billed; other paths cost nothing and are left out."""
    sums = Totals()
    for record in records:
        if record.path not in BILLED and not is_generate(record.path):
            continue
        sums.requests += 1
        sums.invalid += record.violation is not None
        sums.errors += record.violation is None and record.status >= 400
        sums.input_tokens += record.usage["input_tokens"]
        sums.cache_read_input_tokens += record.usage["cache_read_input_tokens"]
        sums.ephemeral_5m_input_tokens += record.usage["cache_creation"]["ephemeral_5m_input_tokens"]
        sums.ephemeral_1h_input_tokens += record.usage["cache_creation"]["ephemeral_1h_input_tokens"]
        sums.output_tokens += record.usage["output_tokens"]
        sums.dollars += record.dollars
    return sums
