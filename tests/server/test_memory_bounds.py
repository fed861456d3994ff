"""Inputs that would take memory without bound: what a core takes stays below its pools, and all of it is given back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reddb import errors, limits
from reddb.wire.messages import Failure, Ping, Pong
from tests.attack.memory import BOUND_BYTES, INPUTS, Watch, bounded_server, header, used
from tests.server.harness import Peer, Server, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with bounded_server(tmp_path_factory.mktemp("memory")) as server:
        yield server


@pytest.mark.parametrize("attack", INPUTS, ids=lambda attack: attack.__name__)
def test_an_input_stays_within_the_pools_and_leaves_nothing(server, attack):
    watch = Watch(server)
    with watch.during():
        attack(server)
    assert max(watch.grown) < BOUND_BYTES
    assert watch.waited_s, "the light client was served"
    wait_for(lambda: not used(server), "empty pools", 30)


def test_a_frame_that_can_never_fit_is_skipped_and_the_connection_goes_on(server):
    peer = Peer(server.port)
    peer.greet()
    size = limits.FRAME_BYTES_MAX // 4
    peer.send(header(size, correlation=70) + bytes(limits.MIB))
    event = peer.next()
    assert event is not None
    assert isinstance(event.message, Failure)
    assert (event.correlation, event.message.name, event.message.retryable) == (70, errors.TOO_LARGE.name, False)
    for _ in range(size // limits.MIB - 1):
        peer.send(bytes(limits.MIB))
    (pong,) = peer.request(Ping())
    assert isinstance(pong, Pong)
    peer.close()
