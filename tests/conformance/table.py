"""The table of tests that do not pass, and what it makes of an outcome."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One word for an outcome, whether it is not what the table says, and why it is so."""

    word: str
    wrong: bool
    why: str


@dataclass(frozen=True)
class Table:
    """Reasons by (suite, test)."""

    reasons: dict

    @classmethod
    def read(cls, path):
        """Rows `| suite | test | reason |`; the heading and its rule are left out."""
        reasons = {}
        for line in path.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if line.startswith("|") and cells[0] != "suite" and set(cells[0]) - set("-"):
                suite, test, reason = cells
                reasons[suite, test.strip("`")] = reason
        return cls(reasons)

    def verdict(self, suite, outcome):
        reason = self.reasons.get((suite, outcome.test))
        if outcome.state == "pass":
            return Verdict("ok", False, "(the table says that it fails)" if reason else "")
        if outcome.state == "skip":
            return Verdict("skipped", False, reason or outcome.why)
        if reason:
            return Verdict("known", False, reason)
        return Verdict("FAIL", True, outcome.why)
