"""The one error of the patch tool."""

from __future__ import annotations


class PatchError(Exception):
    """A patch does not apply, or a tree is not what its lock says.

    Attributes:
        problem: What is wrong, with the value, as a full sentence.
        evidence: What shows it, one line each.
        fix: What to do, as a full sentence.
    """

    def __init__(
        self, problem: str, *, fix: str, evidence: tuple[str, ...] = ()
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.evidence = evidence
        self.fix = fix

    def text(self) -> str:
        """Return the error as it is shown: problem, evidence, fix."""
        shown = "".join(f"  {line}\n" for line in self.evidence)
        return f"error: {self.problem}\n{shown}fix: {self.fix}\n"
