"""Reading files and variables: once, bounded, never blocking."""

from __future__ import annotations

import os
import pwd
import threading
from pathlib import Path

import pytest

from proxy.config import SystemUser
from proxy.config.errors import Unfit
from proxy.config.sources import LIMIT_BYTES, Sources


def test_a_file_is_read_once_for_all_uses(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    (tmp_path / "a").write_bytes(b"old")
    assert sources.read("a") == b"old"
    (tmp_path / "a").write_bytes(b"new")
    assert sources.read(str(tmp_path / "a")) == b"old"
    assert sources.paths == (tmp_path / "a",)


def test_links_are_followed_as_kubernetes_mounts_need(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "tls.crt").write_bytes(b"x")
    (tmp_path / "tls.crt").symlink_to("..data/tls.crt")
    assert Sources(tmp_path).read("tls.crt") == b"x"


def test_what_cannot_be_read_is_said_each_time_and_watched(tmp_path: Path) -> None:
    sources = Sources(tmp_path)
    for _ in range(2):
        with pytest.raises(Unfit) as caught:
            sources.read("missing")
        assert caught.value.found == f'"{tmp_path}/missing": No such file or directory'
    assert sources.paths == (tmp_path / "missing",)


def test_a_link_to_itself_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to("key")
    with pytest.raises(Unfit) as caught:
        Sources(tmp_path).read("key")
    assert caught.value.found.endswith('key": Too many levels of symbolic links')


def test_devices_directories_and_pipes_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    caught: list[str] = []

    def read_all() -> None:
        sources = Sources(tmp_path)
        for path in ("/dev/zero", ".", "pipe"):
            try:
                sources.read(path)
            except Unfit as error:
                caught.append(error.expected)

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    reader.join(timeout=10)
    assert caught == ["a regular file"] * 3


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (LIMIT_BYTES + 1))
    with pytest.raises(Unfit, match="at most 4194304 bytes"):
        Sources(tmp_path).read("a")


@pytest.mark.parametrize(("mode", "open_to_all"), [(0o644, True), (0o640, False), (0o600, False)])
def test_files_that_everybody_reads_are_known(tmp_path: Path, mode: int, open_to_all: bool) -> None:
    (tmp_path / "key").touch()
    (tmp_path / "key").chmod(mode)
    sources = Sources(tmp_path)
    sources.read("key")
    assert sources.open_to_all("key") is open_to_all


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"pass", b"pass"), (b"pass\n", b"pass"), (b"pass\r\n", b"pass"), (b"a\n\n", b"a\n")],
)
def test_a_secrets_file_may_end_in_a_line_break(
    tmp_path: Path, content: bytes, secret: bytes
) -> None:
    (tmp_path / "pass").write_bytes(content)
    assert Sources(tmp_path).passphrase(file="pass", env=None).reveal() == secret


def test_a_secret_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = Sources(Path())
    monkeypatch.setenv("VESTIBULE_TEST_SECRET", "pässword")
    secret = sources.passphrase(file=None, env="VESTIBULE_TEST_SECRET")
    assert secret.reveal() == "pässword".encode()
    assert sources.paths == ()
    monkeypatch.delenv("VESTIBULE_TEST_SECRET")
    with pytest.raises(Unfit, match="an environment variable that is set"):
        sources.passphrase(file=None, env="VESTIBULE_TEST_SECRET")


def test_a_secrets_file_that_is_no_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pass").write_bytes(b"x" * 5000)
    with pytest.raises(Unfit, match="at most 4096 bytes"):
        Sources(tmp_path).passphrase(file="pass", env=None)


def test_a_user_is_found_by_name() -> None:
    found = next(each for each in pwd.getpwall() if each.pw_uid != 0)
    assert Sources(Path()).user(found.pw_name) == SystemUser(
        name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no such user", "the name of a user of this system"),
        ("", "the name of a user of this system"),
        ("a\0b", "the name of a user of this system"),
        ("\ud800", "the name of a user of this system"),
        (pwd.getpwuid(0).pw_name, "a user without root's rights"),
    ],
)
def test_a_user_who_cannot_be_taken(name: str, expected: str) -> None:
    with pytest.raises(Unfit) as caught:
        Sources(Path()).user(name)
    assert caught.value.expected == expected
