"""The state directory is the worker's alone: other users can neither read it, nor lock it, nor redirect its writes."""

from __future__ import annotations

import os
import shutil
import stat

import pytest

from samplejoin.engine.config import WorkerError
from samplejoin.engine.state_dir import StateDir
from samplejoin.stores.rocks import RocksStore


@pytest.fixture(autouse=True)
def usual_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(path):
    return {stat.S_IMODE(each.stat().st_mode) for each in path.rglob("*") if not each.is_dir()}, {
        stat.S_IMODE(each.stat().st_mode) for each in (path, *path.rglob("*")) if each.is_dir()
    }


def test_no_other_user_can_read_it(tmp_path):
    path = tmp_path / "state" / "job"
    state = StateDir(path)
    state.lock()
    store = RocksStore(path / "0")
    store.write([(b"k", b"v")], [])
    store.close()
    state.unlock()
    assert modes(tmp_path / "state") == ({0o600}, {0o700})


def test_what_an_earlier_version_left_open_is_closed(tmp_path):
    path = tmp_path / "job"
    store = RocksStore(path / "0")
    store.write([(b"k", b"v")], [])
    store.close()
    assert modes(path) != ({0o600}, {0o700})
    StateDir(path).lock()
    assert modes(path) == ({0o600}, {0o700})


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_lock_that_is_a_link_empties_nothing(tmp_path, link):
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "job"
    path.mkdir()
    link(target, path / "lock")
    with pytest.raises(WorkerError, match=r"state directory .*|is not a file of this worker alone: delete it"):
        StateDir(path).lock()
    assert target.read_text() == "precious"


def test_a_state_directory_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "job").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkerError, match=r"is a link: delete it, or set state_dir"):
        StateDir(tmp_path / "job").lock()


def test_a_parent_that_is_a_link_of_ours_to_a_directory_of_ours_is_taken(tmp_path):
    (tmp_path / "volume").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "volume")
    StateDir(tmp_path / "state" / "job").lock()
    assert (tmp_path / "volume" / "job" / "lock").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
@pytest.mark.parametrize("through", ["directory", "a link to it", "a link of another user"])
def test_a_parent_of_another_user_is_refused(tmp_path, through):
    parent, target = tmp_path / "state", tmp_path / "theirs"
    target.mkdir(mode=0o777)
    if through == "directory":
        parent = target
    else:
        parent.symlink_to(target)
    os.chown(parent if through == "a link of another user" else target, 12345, 12345, follow_symlinks=False)
    with pytest.raises(WorkerError, match="belongs to another user, who could put state of theirs there"):
        StateDir(parent / "job").lock()
    assert not (target / "job" / "lock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "refused"), [(0o777, True), (0o1777, False), (0o775, False)])
def test_a_parent_that_all_can_write_is_refused(tmp_path, mode, refused):
    """Unless only the owner of an entry can rename it there, as in /tmp."""
    parent = tmp_path / "state"
    parent.mkdir()
    parent.chmod(mode)
    for each in (parent, *tmp_path.parents[: len(tmp_path.parts) - 2], tmp_path):
        os.chown(each, 12345, 12345) if each == parent else each.chmod(each.stat().st_mode | 0o11)
    os.seteuid(12345)
    try:
        if refused:
            with pytest.raises(WorkerError, match=r"can be written by all users.*chmod 700"):
                StateDir(parent / "job").lock()
        else:
            StateDir(parent / "job").lock()
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_state_directory_of_another_user_is_refused(tmp_path):
    (tmp_path / "job").mkdir()
    os.chown(tmp_path / "job", 12345, 12345)
    with pytest.raises(WorkerError, match="belongs to another user"):
        StateDir(tmp_path / "job").lock()


def test_a_second_worker_is_refused_until_the_first_has_ended(tmp_path):
    first, second = StateDir(tmp_path / "job"), StateDir(tmp_path / "job")
    first.lock()
    with pytest.raises(WorkerError, match="another worker uses it"):
        second.lock()
    first.unlock()
    second.lock()
    assert (tmp_path / "job" / "lock").read_text() == f"{os.getpid()}\n"
    second.unlock()


def test_a_directory_that_is_removed_under_a_worker_is_made_again(tmp_path, caplog):
    state = StateDir(tmp_path / "state")
    state.lock()
    (state.path / "3").mkdir()
    assert state.stocked() == [3]
    shutil.rmtree(state.path)
    assert state.stocked() == []
    assert "state directory" in caplog.text
    assert "has been removed while this worker runs" in caplog.text
    assert state.path.is_dir()
    state.unlock()
