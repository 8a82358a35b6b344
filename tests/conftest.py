"""Settings of every test: how property tests run, and the option that keeps them running.

The profile `dhtd` is the default: derandomized, so each run proves what the run before it proved. The profile `deep`
looks for new cases, with a fresh seed each time and longer histories:

    pytest --hypothesis-profile=deep --minutes 60

repeats the property tests (`-m` and `-k` narrow them down) until the hour is over or one of them fails. CI runs the
profile `thorough`, with 100 examples where the default has 12. No profile has deadlines, since a slow machine is no
defect.

Coverage makes a test three times as slow. So it is off in property tests, and in tests marked `no_cover`: whole
networks and thousands of mutants. Each line has a cheaper test, which says what the line is for.
"""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Generator

import pytest
from hypothesis import HealthCheck, settings

# A shell that runs the tests in the background has them ignore Ctrl-C and SIGQUIT, and nohup has them ignore a hangup.
# So would every program that they start: tests of these signals would fail, or wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

COMMON = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.register_profile("dhtd", COMMON, derandomize=True, database=None, max_examples=12)
settings.register_profile("thorough", COMMON, derandomize=True, database=None, max_examples=100)
settings.register_profile("deep", COMMON, max_examples=500, stateful_step_count=100)
settings.load_profile("dhtd")  # the plugin loads that of --hypothesis-profile afterwards


@pytest.fixture
def figure(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[str, object], None]:
    """Report a measurement of a test: `pytest -s` or `-rP` shows it, and reports of tests keep it."""

    def tell(name: str, value: object) -> None:
        record_property(name, value)
        print(f"\n{request.node.name}: {name}: {value}")  # noqa: T201 - this is what it is for

    return tell


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--minutes", type=float, metavar="M", help="repeat the property tests alone, for so many minutes (see deep)"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop the first of two collectors in a worker of xdist.

    pytest-cov 7.1 starts one before it knows that the process is a worker, and a second for the worker. `no_cover`
    pauses the second, and the first would go on tracing.
    """
    coverage = session.config.pluginmanager.get_plugin("_cov")
    if hasattr(session.config, "workerinput") and coverage is not None and coverage.cov_controller is not None:
        coverage.cov_controller.cov.stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector pass over what stays: the modules, and thousands of tests.

    To look through them again and again took a sixth of the time of simulations, which make many objects that live for
    a while. For the same reason the collector looks at five thousand new objects at a time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(5_000, 10, 5)
        gc.enable()


@pytest.hookimpl(trylast=True)  # after the plugin has marked them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")
    if config.getoption("--minutes") is not None:
        items[:] = [item for item in items if item.get_closest_marker("hypothesis")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    minutes = session.config.getoption("--minutes")
    if minutes is None or session.config.option.collectonly:
        return None
    deadline = time.monotonic() + 60 * minutes
    session.shouldfail = "nothing to repeat: no property test was selected" if not session.items else False
    while not session.shouldfail:
        for item in session.items:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if time.monotonic() >= deadline or session.testsfailed:
                return True
    raise session.Failed(session.shouldfail)
