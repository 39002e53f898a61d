"""Who may call: clients that show a bearer token, each with its roles and its rate. Tokens are kept as hashes only."""

import hashlib
import math
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import grpc
import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from servers.runtime.errors import ConfigurationError, Overloaded, PermissionDenied, Unauthenticated
from servers.runtime.files import read_regular
from servers.runtime.strict_yaml import NotTaken, StrictLoader

ADMIN = "admin"
NEEDS_ADMIN = ("/marquee.v1.Recommender/DeleteUser", "/marquee.v1.Recommender/GetOutcomes", "/marquee.v1.Items/")
"""Methods, and a service all of whose methods do."""
METADATA, SCHEME = "authorization", "Bearer "
MAX_FILE_BYTES = 16 << 20
OTHERS = stat.S_IROTH | stat.S_IWOTH
log = structlog.get_logger()


class Client(BaseModel):
    """One entry of a file of tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    roles: frozenset[str] = frozenset()
    rate_per_second: float = Field(math.inf, gt=0)


class Clients(RootModel[Mapping[str, Client]]):
    """All entries, by the client's name."""

    @model_validator(mode="after")
    def _tokens_are_of_one_client(self) -> Self:
        for name, client in self.root.items():
            if (other := self._names[client.sha256]) != name:
                raise ValueError(f"{name} and {other} have the same token")
        return self

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {client.sha256: name for name, client in self.root.items()}

    def named(self, token: str) -> str:
        """The client's name. Raises Unauthenticated for an unknown token.

        A look-up by the hash of what was sent tells nothing by the time it takes: nobody can choose a hash.
        """
        if name := self._names.get(hash_of(token)):
            return name
        raise Unauthenticated("authorization: the token is not known")


class Access:
    """Checks calls against the clients; without clients, everybody may do everything."""

    def __init__(self, clients: Clients | None) -> None:
        self._clients: Clients | None = None
        self._buckets: dict[str, Bucket] = {}
        if clients:
            self.use(clients)

    def use(self, clients: Clients) -> None:
        """From now on. Buckets of clients whose rate is the same stay as full as they are."""
        old, self._clients, self._buckets = self._buckets, clients, {}
        for name, client in clients.root.items():
            bucket, rate = old.get(name), client.rate_per_second
            self._buckets[name] = bucket if bucket and bucket.rate == rate else Bucket(rate)

    def check(self, context: grpc.aio.ServicerContext[Any, Any], method: str) -> None:
        """Raises Unauthenticated, PermissionDenied, and Overloaded for a client above its rate.

        Health and reflection are for everybody.
        """
        if self._clients is None or method.startswith("/grpc."):
            return
        name = self._clients.named(_token(context.invocation_metadata() or ()))
        if method.startswith(NEEDS_ADMIN) and ADMIN not in self._clients.root[name].roles:
            raise PermissionDenied(f"{method.rpartition('/')[2]} needs the role {ADMIN}, which {name} does not have")
        if (seconds := self._buckets[name].take()) > 0:
            rate = self._clients.root[name].rate_per_second
            raise Overloaded(f"{name} may make {rate:g} calls a second; try again in {seconds:.2f} s")


class Bucket:
    """A token bucket: a second's worth of calls at once, then `rate` a second."""

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._clock = clock
        self.rate, self._capacity = rate, max(rate, 1.0)
        self._level, self._at = self._capacity, clock()

    def take(self) -> float:
        """0 when the call may be made, else in how many seconds the next one may."""
        now = self._clock()
        if self.rate < math.inf:
            self._level = min(self._capacity, self._level + (now - self._at) * self.rate)
            self._at = now
            if self._level < 1:
                return (1 - self._level) / self.rate
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
        content = read_regular(path, MAX_FILE_BYTES)
        mode = path.stat().st_mode
        if mode & OTHERS:
            log.warning("others can read or change the tokens file", path=str(path), mode=stat.filemode(mode))
        return Clients.model_validate(yaml.load(content.decode(), StrictLoader))
    except OSError as error:
        raise ConfigurationError(f"--tokens {path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"--tokens {path}: is not UTF-8") from None
    except NotTaken as error:
        raise ConfigurationError(f"--tokens {path}: {error}") from None
    except yaml.YAMLError as error:
        line = f" in line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        raise ConfigurationError(f"--tokens {path}: is not YAML{line}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "clients"
        raise ConfigurationError(f"--tokens {path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
    except Exception:  # PyYAML raises whatever its tags' functions do, with what the field holds
        raise ConfigurationError(f"--tokens {path}: is not YAML of clients") from None


def _token(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for name, value in metadata:
        if name == METADATA and isinstance(value, str) and value[: len(SCHEME)].lower() == SCHEME.lower():
            return value[len(SCHEME) :]
    raise Unauthenticated("authorization: metadata 'authorization: Bearer TOKEN' is needed here")
