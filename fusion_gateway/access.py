"""Who may call: clients that show a bearer token, each with its roles and its rate. Tokens are kept as hashes only."""

import hashlib
import hmac
import math
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import grpc
import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from servers.runtime.errors import ConfigurationError, Overloaded, PermissionDenied, Unauthenticated

ADMIN = "admin"
NEEDS_ADMIN = {"DeleteUser"}
METADATA, SCHEME = "authorization", "Bearer "


class Client(BaseModel):
    """One entry of a file of tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    roles: frozenset[str] = frozenset()
    rate_per_second: float = Field(math.inf, gt=0)


class Clients(RootModel[Mapping[str, Client]]):
    """All entries, by the client's name."""

    def named(self, token: str) -> str:
        """The client's name. Takes as long for every token. Raises Unauthenticated for an unknown one."""
        digest, found = hash_of(token), ""
        for name, client in self.root.items():
            if hmac.compare_digest(client.sha256, digest):
                found = name
        if not found:
            raise Unauthenticated("authorization: the token is not known")
        return found


class Access:
    """Checks calls against the clients; without clients, everybody may do everything."""

    def __init__(self, clients: Clients | None) -> None:
        self._clients = clients
        self._buckets = (
            {name: Bucket(client.rate_per_second) for name, client in clients.root.items()} if clients else {}
        )

    def check(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
        """Raises Unauthenticated, PermissionDenied, and Overloaded for a client above its rate."""
        if self._clients is None:
            return
        name = self._clients.named(_token(context.invocation_metadata() or ()))
        if method in NEEDS_ADMIN and ADMIN not in self._clients.root[name].roles:
            raise PermissionDenied(f"{method} needs the role {ADMIN}, which {name} does not have")
        if (seconds := self._buckets[name].take()) > 0:
            rate = self._clients.root[name].rate_per_second
            raise Overloaded(f"{name} may make {rate:g} calls a second; try again in {seconds:.2f} s")


class Bucket:
    """A token bucket: a second's worth of calls at once, then `rate` a second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self._rate, self._most = rate, max(rate, 1.0)
        self._level, self._at = self._most, clock()

    def take(self) -> float:
        """0 when the call may be made, else in how many seconds the next one may."""
        now = self._clock()
        if self._rate < math.inf:
            self._level = min(self._most, self._level + (now - self._at) * self._rate)
            self._at = now
            if self._level < 1:
                return (1 - self._level) / self._rate
            self._level -= 1
        return 0.0


def hash_of(token: str) -> str:
    """A plain hash is enough: tokens are random, so there is nothing to guess."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_token() -> str:
    return secrets.token_urlsafe(32)


def load_clients(path: Path) -> Clients:
    """Raises ConfigurationError naming the file, the client and the field; never what the field holds."""
    try:
        return Clients.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(f"--tokens {path}: cannot be read") from None
    except yaml.YAMLError as error:
        line = f" in line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise ConfigurationError(f"--tokens {path}: is not YAML{line}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"--tokens {path}: {where}: {first['msg']}") from None


def _token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for name, value in metadata:
        if name == METADATA and isinstance(value, str) and value.startswith(SCHEME):
            return value.removeprefix(SCHEME)
    raise Unauthenticated("authorization: metadata 'authorization: Bearer TOKEN' is needed here")
