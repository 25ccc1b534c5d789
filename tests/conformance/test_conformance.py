"""The runner's own judgement: what it reads out of a test runner's output, and what it makes of it."""

import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

import librdkafka
from suite import Finished, Job, Outcome
from table import Table

SUMMARY = """
\x1b[31m### Test "0003_c" failed at c.c:7:main() at Wed Nov 25 10:04:46 2026: ###
Message delivery failed
|\x1b[32m 0001_a                                   |     PASSED |   1.692s \x1b[0m|
|\x1b[36m 0002_b                                   |    SKIPPED |   0.000s \x1b[0m| no TLS here
"""


class Librdkafka(unittest.TestCase):
    def outcomes(self, status, *names):
        return librdkafka.outcomes(Job("0000", names), Finished(status, SUMMARY))

    def test_lines_and_failures_are_read(self):
        names = ("0001_a", "0002_b", "0003_c")
        self.assertEqual(
            self.outcomes(-6, *names),
            [
                Outcome("0001_a", "pass"),
                Outcome("0002_b", "skip", "no TLS here"),
                Outcome("0003_c", "fail", "c.c:7:main(): Message delivery failed"),
            ],
        )

    def test_a_test_without_a_line_has_not_passed(self):
        for status, state in ((None, "fail"), (0, "skip"), (-11, "fail")):
            (outcome,) = self.outcomes(status, "0004_d")
            self.assertEqual(outcome.state, state)


class TheTable(unittest.TestCase):
    def test_only_what_it_names_may_fail(self):
        table = Table({("suite", "known"): "a reason"})
        judged = lambda test, state: table.verdict("suite", Outcome(test, state, "why"))
        self.assertFalse(judged("known", "fail").wrong)
        self.assertTrue(judged("other", "fail").wrong)
        self.assertFalse(judged("other", "skip").wrong)
        self.assertIn("the table", judged("known", "pass").why)

    def test_the_real_one_is_read(self):
        table = Table.read(HERE / "NOT-PASSED.md")
        self.assertIn(("librdkafka", "0103_transactions"), table.reasons)
        self.assertNotIn("suite", {suite for suite, _ in table.reasons})


if __name__ == "__main__":
    unittest.main()
