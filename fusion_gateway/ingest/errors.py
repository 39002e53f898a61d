"""What is wrong with a data file."""


class DataError(Exception):
    """A data folder or file that cannot be used; names the file, the line where there is one, and what to do."""


class MissingColumn(DataError):
    """No column of the file can be taken for `role`, or several can."""

    def __init__(self, message: str, role: str, names: list[str]) -> None:
        super().__init__(message)
        self.role = role
        self.names = names
        """All columns of the file."""

    @classmethod
    def of(cls, path: object, role: str, names: list[str]) -> "MissingColumn":
        """No column is known to be the role."""
        listed = ", ".join(names)
        return cls(
            f"{path}: no column is known to be the {role} among {listed}: 'training data import' takes --{role} NAME",
            role,
            names,
        )
