"""Claims: one process holds each, a dead one's comes free, and no clock but the file system's counts."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from circuitlang.results import claims as module
from circuitlang.results.claims import FOLDER, Claims, Done, failures, held

OLD = 10_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir()
    return tmp_path


def age(run: Path, name: str) -> None:
    """Let a claim look as if its owner had died long ago."""
    path = run / FOLDER / f"{name}.held"
    then = path.stat().st_mtime - OLD
    os.utime(path, (then, then))


def test_only_one_of_many_gets_a_claim(run: Path) -> None:
    all_of_them = [Claims(run) for _ in range(16)]
    won, begin = [], threading.Barrier(len(all_of_them))

    def want(claims: Claims) -> None:
        begin.wait()
        if claims.take("a", ["one"]):
            won.append(claims)

    threads = [threading.Thread(target=want, args=(claims,)) for claims in all_of_them]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    (there,) = held(run)
    assert (there.claim.process, there.claim.circuits) == (os.getpid(), ["one"])
    won[0].release("a")
    assert held(run) == []
    assert all_of_them[0].take("a", ["one"])


def test_a_claim_whose_owner_died_comes_free_to_one(run: Path) -> None:
    dead, one, other = Claims(run), Claims(run), Claims(run)
    assert dead.take("a", ["one"])
    assert not one.take("a", ["one"])
    age(run, "a")
    assert held(run)[0].silent == pytest.approx(OLD, abs=60)
    assert one.take("a", ["one"])
    assert not other.take("a", ["one"])
    assert [file.name for file in (run / FOLDER).iterdir()] == ["a.held"]


def test_a_claim_that_was_taken_anew_meanwhile_is_put_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, fast, slow = Claims(run), Claims(run), Claims(run)
    dead.take("a", ["one"])
    age(run, "a")
    silent = module.silence

    def overtaken(path: Path, folder: Path) -> float | None:
        """Between the look at the claim and its removal, another has taken it."""
        found = silent(path, folder)
        monkeypatch.setattr(module, "silence", silent)
        assert fast.take("a", ["one"])
        return found

    monkeypatch.setattr(module, "silence", overtaken)
    assert not slow.take("a", ["one"])
    (there,) = held(run)
    assert there.claim.token == fast.token


def test_who_is_at_work_gives_signs_of_life(run: Path) -> None:
    claims = Claims(run, lease=0.3)
    with claims.kept():
        claims.take("a", ["one"])
        age(run, "a")
        end = time.monotonic() + 30
        while held(run)[0].silent > 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert held(run)[0].silent <= 1
    # What was not given back is, when the work ends.
    assert held(run) == []


def test_a_claim_that_was_taken_away_is_not_kept_alive(run: Path) -> None:
    suspended, other = Claims(run, lease=0.1), Claims(run)
    suspended.take("a", ["one"])
    age(run, "a")
    assert other.take("a", ["one"])
    age(run, "a")
    with suspended.kept():
        time.sleep(0.3)
        assert held(run)[0].silent > OLD / 2
    assert held(run)[0].claim.token == other.token


def test_the_clock_of_the_machine_has_no_say(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Claims(run).take("a", ["one"])
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert not Claims(run).take("a", ["one"])


def test_what_is_done_is_known_with_its_failures(run: Path) -> None:
    claims = Claims(run)
    claims.take("a", ["one", "two"])
    assert not claims.is_done("a")
    claims.release("a", Done(["one", "two"], {"two": "it is constant"}))
    assert Claims(run).is_done("a")
    assert failures(run) == {"two": "it is constant"}
    claims.forget("a")
    assert not claims.is_done("a")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}'])
def test_files_that_are_no_claims_count_as_taken_and_say_nothing(run: Path, content: bytes) -> None:
    (run / FOLDER / "a.held").write_bytes(content)
    (run / FOLDER / "b.done").write_bytes(content)
    assert held(run) == []
    assert failures(run) == {}
    assert not Claims(run).take("a", ["one"])
