"""The suite's pytest plugin on suites and engines made for the purpose: verdicts, options, what fails a run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

# Makes the directory of the test the suite, and registers an engine; at the end it writes down what was found.
CONFTEST = """
import json
from pathlib import Path

import samebox.conformance.items as items
import samebox.conformance.plugin as plugin
import samebox.conformance.session as session
from samebox.capabilities import Capability
from samebox.engine import EngineInfo
from samebox.engine.local import LocalEngine
from samebox.errors import EngineUnavailableError
from samebox.engine.registry import registry

session.DIRECTORY = items.DIRECTORY = plugin.SUITE = Path(__file__).parent


class Fake(LocalEngine):
    name = "fake"
    capabilities = frozenset({Capability.USER, Capability.TMPFS, Capability.CPU_LIMIT, Capability.NETWORK_APART})
    missing = {Capability.CPU_LIMIT: "no cgroup here"}

    def probe(self):
        info = super().probe()
        return EngineInfo("fake", "1.2", info.isolation, missing=self.missing)


class Absent(Fake):
    name = "absent"

    def probe(self):
        raise EngineUnavailableError("nothing answers at unix:///absent.sock; start it")


class Odd(Fake):
    name = "odd"
    capabilities = frozenset({"telepathy"})
    missing = {}


for engine in (Fake, Absent, Odd):
    registry().engines[engine.name] = engine


def pytest_unconfigure(config):
    run = config.stash.get(session.RUN, None)
    if run is not None and not hasattr(config, "workerinput"):
        found = {
            "verdicts": {name: [result.verdict.value, result.reason] for name, result in run.results.items()},
            "problems": run.problems, "partial": run.partial, "unavailable": run.unavailable,
        }
        Path("found.json").write_text(json.dumps(found))
"""

TABLE = """
import pytest

from samebox.capabilities import Capability
from samebox.conformance.contract.harness import requires
from samebox.errors import SandboxError, UnsupportedError

ran = []


def refuse(capability):
    raise UnsupportedError(capability, "fake", "not here")


def test_plain_pass():
    pass


def test_plain_fail():
    assert 1 == 2, "one is not two"


def test_plain_refusal():
    refuse(Capability.USER)


@requires(Capability.USER)
def test_claimed_pass():
    pass


@requires(Capability.USER)
def test_claimed_fail():
    raise SandboxError("it broke")


@requires(Capability.USER)
def test_claimed_refusal():
    refuse(Capability.USER)


@requires(Capability.SECCOMP)
def test_unclaimed_refusal():
    refuse(Capability.SECCOMP)


@pytest.fixture
def refusing():
    refuse(Capability.SECCOMP)


@requires(Capability.SECCOMP)
def test_unclaimed_refusal_in_a_fixture(refusing):
    raise AssertionError


@requires(Capability.SECCOMP)
def test_unclaimed_pass():
    pass


@requires(Capability.SECCOMP)
def test_unclaimed_fail():
    raise SandboxError("it broke")


@requires(Capability.SECCOMP)
def test_unclaimed_other_refusal():
    refuse(Capability.NETWORK)


@requires(Capability.USER, Capability.SECCOMP)
def test_half_claimed_refusal():
    refuse(Capability.SECCOMP)


@requires(Capability.CPU_LIMIT)
def test_missing_here():
    raise SystemExit("this must not run")


@requires(Capability.NETWORK_APART)
def test_missing_here_as_a_sandbox_tells():
    refuse(Capability.NETWORK_APART)


@requires(Capability.CPU_LIMIT, Capability.SECCOMP)
def test_missing_here_and_unclaimed():
    refuse(Capability.CPU_LIMIT)


@pytest.fixture
def breaking_at_its_end():
    yield
    raise SandboxError("left something")


def test_teardown_fail(breaking_at_its_end):
    pass


@pytest.mark.parametrize("size", [1, 2])
def test_parameters(size):
    assert size == 1


def test_skip():
    pytest.skip("not today")


@pytest.mark.skip(reason="not today")
def test_skip_mark():
    pass


@pytest.mark.xfail(reason="some day")
def test_xfail_mark():
    assert False


def test_xfail_call():
    pytest.xfail("some day")


def test_importorskip():
    pytest.importorskip("no_such_module_at_all")
"""

EXPECTED = {
    "table/plain-pass": "PASS",
    "table/plain-fail": "FAIL one is not two: assert 1 == 2",
    "table/plain-refusal": "FAIL over-claim: UnsupportedError: engine 'fake' does not support user: not here",
    "table/claimed-pass": "PASS",
    "table/claimed-fail": "FAIL over-claim of user: SandboxError: it broke",
    "table/claimed-refusal": "FAIL over-claim: UnsupportedError: engine 'fake' does not support user: not here",
    "table/unclaimed-refusal": "UNSUPPORTED seccomp: not here",
    "table/unclaimed-refusal-in-a-fixture": "UNSUPPORTED seccomp: not here",
    "table/unclaimed-pass": "FAIL under-claim: fake does not claim seccomp, and has it: the test passed",
    "table/unclaimed-fail": (
        "FAIL fake does not claim seccomp, and failed without UnsupportedError: SandboxError: it broke"
    ),
    "table/unclaimed-other-refusal": (
        "FAIL fake does not claim seccomp, and refused another thing: "
        "UnsupportedError: engine 'fake' does not support network: not here"
    ),
    "table/half-claimed-refusal": "UNSUPPORTED seccomp: not here",
    "table/missing-here": "HOST-MISSING cpu-limit: no cgroup here",
    "table/missing-here-as-a-sandbox-tells": "HOST-MISSING network-apart: not here",
    "table/missing-here-and-unclaimed": "UNSUPPORTED cpu-limit: not here",
    "table/teardown-fail": "FAIL at its end: SandboxError: left something",
    "table/parameters[1]": "PASS",
    "table/parameters[2]": "FAIL assert 2 == 1",
    "table/skip": "FAIL a test of the suite is never skipped: not today",
    "table/skip-mark": "FAIL a test of the suite is never skipped: not today",
    "table/xfail-mark": "FAIL a test of the suite is never xfailed: name an issue with --known",
    "table/xfail-call": "FAIL a test of the suite is never xfailed: name an issue with --known",
    "table/importorskip": "FAIL a test of the suite is never skipped: could not import 'no_such_module_at_all'",
}
"""The verdict and its reason of each test in `TABLE`; DESIGN's table, a line each."""

GOOD = """
from samebox.capabilities import Capability
from samebox.conformance.contract.harness import requires


def test_one():
    pass


@requires(Capability.USER)
def test_two():
    pass


@requires(Capability.SECCOMP)
def test_under_claim():
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A directory that is the suite, without any test yet."""
    pytester.makeconftest(CONFTEST)
    return pytester


def run(suite: pytest.Pytester, *words: str, engine: str = "fake") -> pytest.RunResult:
    """Run the suite in a process of its own."""
    return suite.runpytest_subprocess("--engine", engine, "-p", "no:cacheprovider", *words, timeout=50)


def found(suite: pytest.Pytester) -> dict[str, object]:
    """Return what the run has found."""
    return dict(json.loads((suite.path / "found.json").read_text()))


def verdicts(suite: pytest.Pytester) -> dict[str, str]:
    """Return the verdict and reason of each test."""
    listed = json.loads((suite.path / "found.json").read_text())["verdicts"]
    return {name: " ".join(filter(None, pair)).partition(": No module named")[0] for name, pair in listed.items()}


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_every_verdict(suite: pytest.Pytester, words: tuple[str, ...]) -> None:
    """Each line of the table of verdicts comes out as it should, in one process and in several."""
    suite.makepyfile(test_table=TABLE)

    done = run(suite, "--strict-markers", *words)

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert EXPECTED == verdicts(suite)
    done.stdout.fnmatch_lines(["PASS 3  FAIL 14  UNSUPPORTED 4  HOST-MISSING 2"])
    done.stdout.fnmatch_lines(["HOST-MISSING cpu-limit: no cgroup here (1 test)"])
    done.stdout.fnmatch_lines(["UNSUPPORTED  seccomp: not here (3 tests)"])


def test_known_failures(suite: pytest.Pytester) -> None:
    """A listed failure is KNOWN, one that passes or is unsupported fails, and what is missing here stays that."""
    suite.makepyfile(test_table=TABLE)
    listed = suite.path / "known.txt"
    listed.write_text(
        "# what we know\n"
        "table/plain-fail https://example.org/1  # of old\n"
        "table/skip https://example.org/2\n\n"
        "table/claimed-pass https://example.org/3\n"
        "table/unclaimed-refusal https://example.org/4\n"
    )

    run(suite, "--known", str(listed), "--known", "table/missing-here=https://example.org/5")
    seen = verdicts(suite)

    assert seen["table/plain-fail"] == "KNOWN https://example.org/1: one is not two: assert 1 == 2"
    assert seen["table/skip"].startswith("KNOWN https://example.org/2: a test of the suite is never skipped")
    assert (
        seen["table/claimed-pass"]
        == "FAIL listed as a known failure (https://example.org/3), and is PASS: take it off the list"
    )
    assert seen["table/unclaimed-refusal"].startswith("FAIL listed as a known failure (https://example.org/4)")
    assert seen["table/missing-here"].startswith("HOST-MISSING")


def test_good_run(suite: pytest.Pytester) -> None:
    """A run without a failure ends with 0, a known failure among it."""
    suite.makepyfile(test_good=GOOD)

    done = run(suite, "--known", "good/under-claim=https://example.org/1", "--junit-xml", "junit.xml")

    assert [line for line in found(suite)["problems"] if "no test asks for" not in line] == []  # type: ignore[attr-defined]
    assert set(verdicts(suite).values()) >= {"PASS"}
    done.stdout.fnmatch_lines(["PASS 2  KNOWN 1"])
    done.stdout.fnmatch_lines(["KNOWN*good/under-claim: https://example.org/1: under-claim*"])
    assert "https://example.org/1" in (suite.path / "junit.xml").read_text()


def test_known_failure_that_matches_nothing(suite: pytest.Pytester) -> None:
    """It fails the run, however good the tests."""
    suite.makepyfile(test_good=GOOD)

    done = run(suite, "--known", "good/one-and-a-half=https://example.org/1")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["FAIL: --known names good/one-and-a-half, and there is no such test"])


def test_known_failure_that_is_not_part_of_this_run(suite: pytest.Pytester) -> None:
    """One that exists and was deselected, or is of a module that was not collected, is no mistake."""
    suite.makepyfile(test_good=GOOD, test_other="def test_three():\n    pass\n")

    run(
        suite, "test_good.py", "-k", "one", "--known", "good/two=https://example.org/1",
        "--known", "other/three=https://example.org/2",
    )  # fmt: skip

    assert not [line for line in found(suite)["problems"] if "known" in line]  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_deselection_is_partial(suite: pytest.Pytester, words: tuple[str, ...]) -> None:
    """A run that leaves tests out says that it is partial, and does not fail for that."""
    suite.makepyfile(test_good=GOOD, test_other="def test_three():\n    pass\n")

    done = run(suite, "test_good.py", "-k", "one or two", *words)

    assert found(suite)["partial"] == ["1 tests were not collected", "1 tests were deselected"]
    assert found(suite)["problems"] == []
    assert done.ret == pytest.ExitCode.OK
    done.stdout.fnmatch_lines(["PARTIAL: 1 tests were deselected*"])


def test_stopping_early_is_partial(suite: pytest.Pytester) -> None:
    """A run that ends at its first failure says so."""
    suite.makepyfile(test_table=TABLE)

    run(suite, "-x")

    assert [line for line in found(suite)["partial"] if "not run" in line]  # type: ignore[attr-defined]


def test_module_that_skips_itself(suite: pytest.Pytester) -> None:
    """It fails the run."""
    suite.makepyfile(test_good=GOOD, test_gone="import pytest\npytest.skip('all of it', allow_module_level=True)\n")

    done = run(suite, "--known", "good/under-claim=https://example.org/1")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["FAIL: test_gone.py skips itself*"])


def test_unknown_capability_of_a_test(suite: pytest.Pytester) -> None:
    """A test that asks for what is no capability is an error."""
    suite.makepyfile(
        test_odd="from samebox.conformance.contract.harness import requires\n@requires('flying')\ndef test_x(): ...\n"
    )

    done = run(suite)

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*odd/x asks for the unknown capability 'flying'*"])


def test_unknown_capability_of_an_engine(suite: pytest.Pytester) -> None:
    """An engine that claims what is no capability fails."""
    suite.makepyfile(test_good="def test_one():\n    pass\n")

    done = run(suite, engine="odd")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["FAIL: odd claims capabilities that do not exist: telepathy"])


def test_capability_without_a_test(suite: pytest.Pytester) -> None:
    """A whole run in which nobody asks for a capability fails."""
    suite.makepyfile(test_good=GOOD)

    done = run(suite, "--known", "good/under-claim=https://example.org/1")

    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["FAIL: no test asks for network-none"])


def test_profile_asks_for_its_capabilities(suite: pytest.Pytester) -> None:
    """A profile runs the tests within it, and fails an engine that does not claim all of it."""
    suite.makepyfile(test_table=TABLE)

    done = run(suite, "--engine-profile", "limits")

    seen = verdicts(suite)
    assert "table/claimed-pass" not in seen
    assert "table/missing-here" in seen
    assert found(suite)["partial"] == []
    done.stdout.fnmatch_lines(["FAIL: profile limits asks for memory-limit, which fake does not claim"])


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_report_of_a_pytest_run(suite: pytest.Pytester, words: tuple[str, ...]) -> None:
    """It is that of `samebox conformance`, written once, with the engine's name as its label."""
    suite.makepyfile(test_table=TABLE)
    done = run(suite, "--report", "out/deep", *words)

    done.stdout.fnmatch_lines(["written: */out/deep/result.json, */junit.xml, */report.html"])
    document = json.loads((suite.path / "out" / "deep" / "result.json").read_text())
    (engine,) = document["engines"]
    assert (engine["label"], engine["info"]["version"]) == ("fake", "1.2")
    seen = {name: words.partition(" ")[0] for name, words in verdicts(suite).items()}
    assert {result["id"]: result["verdict"] for result in engine["results"]} == seen


def test_report_of_an_engine_that_is_not_there(suite: pytest.Pytester) -> None:
    """It says why, and names no verdict."""
    suite.makepyfile(test_table=TABLE)
    run(suite, "--report", "out", engine="absent")

    (engine,) = json.loads((suite.path / "out" / "result.json").read_text())["engines"]
    assert "nothing answers at unix:///absent.sock" in engine["unavailable"]
    assert engine["counts"] == {}


def test_hanging_test_fails(suite: pytest.Pytester) -> None:
    """A test that takes too long fails as one that hangs, and the next one runs."""
    suite.makeconftest(CONFTEST + "\nsession.HANG = 1\n")
    suite.makepyfile(
        test_slow="import threading\ndef test_a():\n    threading.Event().wait(30)\ndef test_b():\n    pass\n"
    )

    run(suite, "-p", "no:timeout")

    assert verdicts(suite) == {"slow/a": "FAIL HangError: hung: the test was not over after 1 s", "slow/b": "PASS"}


@pytest.mark.parametrize("words", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_engine_that_is_not_there(suite: pytest.Pytester, words: tuple[str, ...]) -> None:
    """It is one error with the engine's own words, and no failure where that is allowed."""
    suite.makepyfile(test_good=GOOD)

    done = run(suite, *words, engine="absent")
    allowed = run(suite, "--allow-unavailable", *words, engine="absent")

    assert (done.ret, allowed.ret) == (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.OK)
    assert found(suite)["unavailable"] == "nothing answers at unix:///absent.sock; start it"
    for result in (done, allowed):
        result.stdout.fnmatch_lines(["ERROR  cannot be tested: nothing answers at unix:///absent.sock; start it"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--engine", "nothing"), "*there is no engine 'nothing'*installed:*"),
        (("--engine", "fake", "--engine-option", "url"), "*--engine-option 'url': an option is KEY=VALUE*"),
        (("--engine", "fake", "--engine-option", "url=x"), "*url*there is no such*"),
        (("--engine", "fake", "--engine-profile", "best"), "*there is no profile 'best'; there are: core, isolated*"),
        (("--engine", "fake", "--known", "good/one"), "*--known good/one: neither ID=URL*nor a file*"),
        (("--engine", "fake", "--known", "good/one=later"), "*a known failure is a test's id and its issue's URL*"),
        (("--engine", "fake", "--known", "known.txt"), "*known.txt, line 1: a line is an id and the issue's URL*"),
    ],
    ids=["engine", "option", "unknown-option", "profile", "known", "known-url", "known-line"],
)
def test_mistakes_are_usage_errors(suite: pytest.Pytester, words: tuple[str, ...], message: str) -> None:
    """A wrong option ends the run with a line that says what is right."""
    suite.makepyfile(test_good=GOOD)
    (suite.path / "known.txt").write_text("good/one\n")

    done = suite.runpytest_subprocess(*words)

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([message])


@pytest.mark.parametrize(
    "words",
    [
        ("--pyargs", "samebox.conformance"),
        ("--pyargs", "samebox.conformance.contract.test_exec"),
        ("-n", "2", "--pyargs", "samebox.conformance"),
    ],
    ids=["package", "module", "xdist"],
)
def test_no_engine_is_a_usage_error(pytester: pytest.Pytester, words: tuple[str, ...]) -> None:
    """The suite without an engine is a usage error that says how to name one."""
    done = pytester.runpytest_subprocess(*words)

    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*samebox.conformance tests an engine: name it, as in *--engine podman*"])


def test_suite_collected_from_above(suite: pytest.Pytester) -> None:
    """The suite that is collected with a directory above it needs an engine too."""
    suite.makepyfile(test_good=GOOD)

    (suite.path / "above").mkdir()
    for path in [*suite.path.glob("*.py")]:
        path.rename(suite.path / "above" / path.name)

    done = suite.runpytest_subprocess(".", "--rootdir", str(suite.path))

    assert done.ret == pytest.ExitCode.USAGE_ERROR


def test_others_are_left_alone(pytester: pytest.Pytester) -> None:
    """Another project's run sees no fixture of the suite, keeps its skips, and imports nothing of it."""
    pytester.makepyfile(
        """
        import sys

        import pytest


        def test_pass(): ...


        def test_skip():
            pytest.skip("as one may")


        def test_nothing_is_imported():
            for name in ("samebox.conformance.session", "samebox.conformance.contract.harness", "docker", "podman"):
                assert name not in sys.modules, name
        """
    )

    done = pytester.runpytest_subprocess("--strict-markers", "-p", "no:cacheprovider")
    fixtures = pytester.runpytest_subprocess("--fixtures", "-q")

    done.assert_outcomes(passed=2, skipped=1)
    assert "conformance" not in done.stdout.str()
    assert "samebox" not in fixtures.stdout.str()


def test_others_in_the_same_run(suite: pytest.Pytester, tmp_path: Path) -> None:
    """Tests that are not of the suite are not judged, also where the suite runs beside them."""
    suite.makepyfile(test_good="def test_one():\n    pass\n")
    (tmp_path / "test_theirs.py").write_text("import pytest\ndef test_skip():\n    pytest.skip('as one may')\n")

    done = run(suite, "test_good.py", str(tmp_path / "test_theirs.py"))

    assert set(verdicts(suite)) == {"good/one"}
    done.assert_outcomes(passed=1, skipped=1)


def test_option_of_another_plugin(pytester: pytest.Pytester) -> None:
    """Where another plugin has one of the short options already, the long one remains, and theirs is theirs."""
    pytester.makepyfile(
        theirs="def pytest_addoption(parser):\n    parser.addoption('--image', dest='theirs', default='d')\n",
        test_theirs="def test_theirs(pytestconfig):\n    assert pytestconfig.getoption('theirs') == 'x.png'\n",
    )

    done = pytester.runpytest_subprocess("-p", "theirs", "--image", "x.png", "--samebox-image", "y", "test_theirs.py")

    done.assert_outcomes(passed=1)


def test_options_are_in_one_group(pytester: pytest.Pytester) -> None:
    """`pytest --help` shows all of them under one heading."""
    text = pytester.runpytest_subprocess("--help").stdout.str()

    assert text.count("samebox conformance suite:") == 1
    for option in ("--engine", "--engine-option", "--image", "--known", "--allow-unavailable"):
        assert option in text.partition("samebox conformance suite:")[2]


def test_importing_the_plugin_is_cheap() -> None:
    """It is loaded in every pytest run of whoever has samebox: it imports neither pydantic nor an engine's client."""
    script = (
        "import sys, samebox.conformance.plugin; "
        "print([n for n in ('pydantic', 'rich', 'typer', 'docker', 'podman') if n in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
