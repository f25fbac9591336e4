"""How many inputs each parser was given, counted and printed at the end."""

import faulthandler
import sys

import pytest

from cloudtf.errors import UserError

_SECONDS = 300  # No input may take that long, however busy the machine is.


class Trial:
    """Gives inputs to one parser and counts what came of them."""

    def __init__(self, parser):
        self.parser, self.tried, self.accepted = parser, 0, 0

    def run(self, call, *arguments, refusal=UserError):
        """The result of a call; None if it was refused in one sentence, as it may be."""
        self.tried += 1
        faulthandler.dump_traceback_later(_SECONDS, exit=True, file=sys.__stderr__)
        try:
            result = call(*arguments)
        except refusal as error:
            assert type(error) in (UserError, ValueError)
            sentence = str(error)
            assert sentence.strip() and len(sentence) < 2000, sentence
            assert len(sentence.splitlines()) == 1 and sentence.isprintable(), sentence
            return None
        finally:
            faulthandler.cancel_dump_traceback_later()
        self.accepted += 1
        return result


@pytest.fixture
def trial(request):
    """A `Trial` of the parser that the test's mark `parser` names."""
    trial = Trial(request.node.get_closest_marker("parser").args[0])
    yield trial
    counts = (trial.parser, trial.tried, trial.accepted)
    request.node.user_properties.append(("fuzz", counts))


def pytest_configure(config):
    config.addinivalue_line("markers", "parser(name): what a property gives its inputs to")


def pytest_terminal_summary(terminalreporter):
    counts = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                for key, value in report.user_properties:
                    if key == "fuzz":
                        tried, accepted = counts.get(value[0], (0, 0))
                        counts[value[0]] = tried + value[1], accepted + value[2]
    if counts:
        terminalreporter.section("inputs tried")
        terminalreporter.line(f"{'parser':<34}{'inputs':>9}{'refused':>9}{'read':>9}")
        for parser, (tried, accepted) in sorted(counts.items()):
            terminalreporter.line(f"{parser:<34}{tried:>9,}{tried - accepted:>9,}{accepted:>9,}")
