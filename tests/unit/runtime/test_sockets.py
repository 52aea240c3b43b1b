from __future__ import annotations

import resource
import socket

import pytest

from sidecar.address import Address
from sidecar.runtime.sockets import SocketBook, addresses_of, connection_share, raise_descriptor_limit
from tests.support.runtime import make_config
from tests.support.sidecar_process import free_ports


def addresses(count: int) -> list[Address]:
    return [Address("127.0.0.1", port) for port in free_ports(count)]


def is_listening(address: Address) -> bool:
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.fixture
def book():
    book = SocketBook()
    yield book
    book.close()


def test_what_is_committed_listens_and_what_is_wanted_no_more_does_not(book):
    first, second = addresses(2)
    assert book.prepare([first]) == []
    book.commit()
    assert book.prepare([second]) == []
    assert is_listening(first) and is_listening(second)
    assert list(book.fresh()) == [second]
    book.commit()
    assert not is_listening(first)
    assert list(book.held()) == [second]


def test_an_aborted_change_leaves_the_old_addresses(book):
    first, second = addresses(2)
    book.prepare([first])
    book.commit()
    book.prepare([second])
    book.abort()
    assert is_listening(first) and not is_listening(second)


def test_every_address_that_cannot_be_had_is_named_and_none_is_kept(book):
    free, *taken = addresses(3)
    blockers = [socket.create_server(address) for address in taken]
    problems = book.prepare([free, *taken])
    assert len(problems) == 2
    assert all(str(address) in " ".join(problems) for address in taken)
    assert not is_listening(free)
    for blocker in blockers:
        blocker.close()


def test_a_duplicate_outlives_the_original(book):
    (address,) = addresses(1)
    book.prepare([address])
    with book.duplicate(address):
        book.commit()
        book.release(address).close()
        assert is_listening(address)
    assert not is_listening(address)


def test_another_way_of_binding_may_be_given():
    def refuse(address: Address) -> socket.socket:
        raise OSError("none came")

    assert SocketBook(refuse).prepare([Address("127.0.0.1", 1)]) == ["none came"]


def test_the_addresses_of_a_configuration(tmp_path):
    assert addresses_of(make_config(tmp_path, port=2000)) == [Address("127.0.0.1", 2000)]


def test_X1_a_listener_takes_no_more_than_the_descriptors_carry():
    assert connection_share(256, 1, 10_000) == 76
    assert connection_share(256, 2, 10_000) == 38
    assert connection_share(1 << 20, 2, 10_000) == 10_000
    assert connection_share(10, 1, 10_000) == 1


def test_the_descriptor_limit_is_raised_to_what_is_allowed():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(100, hard), hard))
        got = raise_descriptor_limit()
        assert got == resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
