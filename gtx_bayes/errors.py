"""What went wrong outside the program: in the input, with the mend; or with another process."""


class InputError(ValueError):
    """Something is wrong with what was given: what it is, where it stands, and the mend.

    Attributes:
        what: what is wrong, one sentence.
        where: file, row or argument at fault; empty when there is no such place.
        mend: what to do about it, one sentence.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        place = f"{where}: " if where else ""
        super().__init__(f"{place}{what} {mend}".rstrip())


class LostProcessError(RuntimeError):
    """Another process of those that work together is gone."""
