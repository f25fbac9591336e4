"""A network of their own: its processes reach one another, and nobody else reaches them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from cloudtf import network, reporter
from tests import programs


@pytest.fixture
def enter():
    try:
        with network.own_network() as function:
            yield function
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")


def test_processes_in_it_reach_one_another_and_have_their_files_and_rights(enter, tmp_path):
    path = tmp_path / "mine"
    first = subprocess.Popen(
        programs.command("listen_alone", path), preexec_fn=enter, stdout=subprocess.PIPE, text=True
    )
    port = int(first.stdout.readline())
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5)
    reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    subprocess.run([sys.executable, "-c", reach], preexec_fn=enter, check=True)
    assert first.wait(30) == 0
    assert (path.stat().st_uid, path.stat().st_gid) == (os.getuid(), os.getgid())
    assert path.read_text() == "False"


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root to be none")
def test_it_needs_no_rights_where_users_may_have_namespaces():
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    allowed = subprocess.run([*user, "unshare", "-Urn", "true"], stderr=subprocess.DEVNULL)
    # One that such a user may start; that of the tests may be in somebody's home.
    python = shutil.which("python3", path="/usr/bin")
    if allowed.returncode or python is None:
        pytest.skip("users may have no namespaces here, or no Python")
    done = subprocess.run(
        [*user, python, *programs.command("enter_network")[1:]],
        env={**os.environ, "PYTHONPATH": str(programs.FOLDER.parents[1])},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == b"65534 False\n"


def test_who_can_be_reached_is_told(monkeypatch):
    said = []
    with reporter.reporting_to(said.append):
        monkeypatch.setattr(network, "is_reachable", lambda: False)
        network.report_open("port 1")
        monkeypatch.setattr(network, "is_reachable", lambda: True)
        network.report_open("port 2")
    (sentence,) = said
    assert sentence.startswith("Note: port 2 is open without a password to all who reach")


def test_where_it_is_not_allowed_it_is_an_error_of_the_system(monkeypatch):
    def refused(*_, **__):
        raise subprocess.SubprocessError("Exception occurred in preexec_fn.")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(OSError, match="does not allow network namespaces"), network.own_network():
        pass
