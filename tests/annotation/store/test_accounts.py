"""Logins, invitations and sessions."""

import threading

import pytest
from sqlalchemy import select

from posttrain.annotation.store import accounts
from posttrain.annotation.store.tables import invites, sessions, users
from posttrain.errors import InputError
from tests.annotation.conftest import PASSWORD, add_person


@pytest.fixture
def project(make_project, database):
    return make_project(database=database)


def test_the_right_password_opens(project):
    ann = add_person(project, "ann")
    assert accounts.login(project.store, " ann ", PASSWORD, 1000.0) == ann
    assert accounts.login(project.store, "ann", PASSWORD + "x", 1000.0) is None
    assert accounts.login(project.store, "nobody", PASSWORD, 1000.0) is None


def test_after_five_wrong_passwords_the_right_one_waits(project):
    add_person(project, "ann")
    for _ in range(5):
        assert accounts.login(project.store, "ann", "wrong", 1000.0) is None
    with pytest.raises(accounts.BackOff) as caught:
        accounts.login(project.store, "ann", PASSWORD, 1010.0)
    assert caught.value.seconds == 20.0
    assert accounts.login(project.store, "ann", PASSWORD, 1031.0) is not None
    assert accounts.login(project.store, "ann", "wrong", 1031.0) is None, "and the count began anew"


def test_names_that_do_not_exist_back_off_too(project):
    for _ in range(5):
        accounts.login(project.store, "nobody", "wrong", 1000.0)
    with pytest.raises(accounts.BackOff):
        accounts.login(project.store, "nobody", "wrong", 1000.0)


def test_many_wrong_passwords_at_once_are_no_way_round(project):
    add_person(project, "ann")
    told = []

    def attempt():
        try:
            told.append(accounts.login(project.store, "ann", "wrong", 1000.0))
        except accounts.BackOff:
            told.append("back off")

    threads = [threading.Thread(target=attempt) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count(None) == 5
    assert told.count("back off") == 7


def test_a_session_ends_by_time_by_logout_and_with_the_account(project):
    ann, admin = add_person(project, "ann"), add_person(project, "admin", "admin")
    with project.store.writing() as connection:
        tokens = [accounts.open_session(connection, ann, 1000.0) for _ in range(3)]
        accounts.close_session(connection, tokens[0], 1001.0)
    with project.store.reading() as connection:
        assert accounts.user_of(connection, tokens[0], 1002.0) is None
        assert accounts.user_of(connection, tokens[1], 1002.0) == ann
        assert accounts.user_of(connection, tokens[1], 1000.0 + 12 * 3600) is None
        assert accounts.user_of(connection, "made up", 1002.0) is None
    with project.store.writing() as connection:
        accounts.set_access(connection, ann.id, "viewer", True, 1003.0, admin.id)
    with project.store.reading() as connection:
        assert accounts.user_of(connection, tokens[1], 1004.0) is None
    with project.store.writing() as connection:
        accounts.set_access(connection, ann.id, "viewer", False, 1003.0, admin.id)
    assert accounts.login(project.store, "ann", PASSWORD, 1005.0) is None


def test_an_invitation_is_good_once_and_for_a_week(project):
    with project.store.writing() as connection:
        codes = [accounts.invite(connection, "viewer", 1000.0) for _ in range(3)]
    week = 7 * 24 * 3600

    def join(code, name, now):
        with project.store.writing() as connection:
            return accounts.join(connection, code, name, PASSWORD, now)

    assert join(codes[0], "ann", 1001.0).role == "viewer"
    with pytest.raises(InputError, match="not valid"):
        join(codes[0], "bob", 1002.0)
    with pytest.raises(InputError, match="not valid"):
        join(codes[1], "bob", 1001.0 + week)
    with pytest.raises(InputError, match="not valid"):
        join("made up", "bob", 1001.0)
    with pytest.raises(InputError, match="taken"):
        join(codes[2], "ann", 1001.0)
    assert join(codes[2], "bob", 1001.0).name == "bob", "a name that was taken did not use the code up"


@pytest.mark.parametrize(
    ("name", "password", "told"),
    [("", PASSWORD, "name"), ("x" * 65, PASSWORD, "name"), ("a\nb", PASSWORD, "name"), ("ann", "short", "password")],
)
def test_what_a_name_and_a_password_may_be(project, name, password, told):
    with pytest.raises(InputError, match=told), project.store.writing() as connection:
        accounts.add_user(connection, name, password, "annotator", 1000.0)


def test_nothing_secret_is_stored_as_it_is(project):
    ann = add_person(project, "ann")
    with project.store.writing() as connection:
        code = accounts.invite(connection, "viewer", 1000.0)
        token = accounts.open_session(connection, ann, 1000.0)
    with project.store.reading() as connection:
        stored = repr([connection.execute(select(table)).all() for table in (users, invites, sessions)])
    assert PASSWORD not in stored
    assert code not in stored
    assert token not in stored
