"""Every error that Marquee raises on purpose. None knows about a transport: status.py maps them to gRPC.

MarqueeError
  InvalidArgument      the caller's request is wrong; the message names the field, the problem and the limit
  NotFound             no such model, version, title or policy
  Unauthenticated      the caller has not shown who it is
  PermissionDenied     the caller is known, but may not do this
  FailedPrecondition   the request is right, but this process is not set up for it
  Overloaded           refused at once because too much is waiting; try again later
  Unavailable          nothing can be answered now; another replica might
  DeadlineExceeded     the caller's deadline passed before the work was done
  StartError           a program cannot start; it prints the message and exits with a code other than 0
    ConfigurationError a setting is wrong, or a port is taken
    RepositoryError    a model repository holds nothing that can be used
      ArtifactError    one published version is broken: `reason` is a short word for metrics
"""


class MarqueeError(Exception):
    """Parent of all. The message is meant for the caller: no paths, no internals."""


class InvalidArgument(MarqueeError):
    pass


class NotFound(MarqueeError):
    pass


class Unauthenticated(MarqueeError):
    pass


class PermissionDenied(MarqueeError):
    pass


class FailedPrecondition(MarqueeError):
    pass


class Overloaded(MarqueeError):
    pass


class Unavailable(MarqueeError):
    pass


class DeadlineExceeded(MarqueeError):
    pass


class StartError(MarqueeError):
    pass


class ConfigurationError(StartError):
    pass


class RepositoryError(StartError):
    pass


class ArtifactError(RepositoryError):
    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
