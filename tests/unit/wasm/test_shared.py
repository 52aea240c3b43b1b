from __future__ import annotations

from sidecar.wasm.shared import MAX_BYTES, MAX_KEYS, MAX_QUEUE, MAX_QUEUES, SharedState


def test_cas_numbers_come_from_one_counter() -> None:
    shared = SharedState()
    assert [shared.set("v", b"a", b"1", 0), shared.set("v", b"b", b"2", 0), shared.set("w", b"a", b"3", 0)] == [
        0,
        0,
        0,
    ]
    assert (shared.get("v", b"a"), shared.get("v", b"b"), shared.get("w", b"a")) == ((b"1", 1), (b"2", 2), (b"3", 3))
    assert shared.set("v", b"a", b"x", 2) == 8
    assert shared.set("v", b"a", b"x", 1) == 0
    assert shared.set("v", b"new", b"x", 77) == 0
    assert shared.delete("v", b"a", 1) == 8 and shared.delete("v", b"a", 0) == 0 and shared.get("v", b"a") is None
    assert shared.delete("v", b"a", 0) == 0


def test_W18_bytes_and_keys_have_limits_that_deleting_gives_back() -> None:
    shared = SharedState()
    assert shared.set("v", b"k", b"x" * (MAX_BYTES - 1), 0) == 0
    assert shared.set("v", b"l", b"", 0) == 10
    assert shared.set("w", b"l", b"", 0) == 0
    assert shared.set("v", b"k", b"", 0) == 0
    for number in range(MAX_KEYS - 1):
        assert shared.set("v", b"%d" % number, b"", 0) == 0
    assert shared.set("v", b"more", b"", 0) == 10
    shared.delete("v", b"0", 0)
    assert shared.set("v", b"more", b"", 0) == 0


def test_abi_96_data_and_queues_go_with_the_last_plugin_of_a_vm_id() -> None:
    shared = SharedState()
    shared.acquire("v")
    shared.acquire("v")
    shared.set("v", b"k", b"x", 0)
    token = shared.register_queue("v", b"q", object(), print)
    shared.release("v")
    assert shared.get("v", b"k") == (b"x", 1) and shared.resolve_queue("v", b"q") == token
    shared.release("v")
    assert shared.get("v", b"k") is None and shared.resolve_queue("v", b"q") is None
    shared.release("v")


def test_queues_are_first_in_first_out_and_drop_the_oldest() -> None:
    shared = SharedState()
    token = shared.register_queue("v", b"q", self_key := object(), print)
    assert token == 1 and shared.register_queue("v", b"q", self_key, print) == 1
    for number in range(MAX_QUEUE + 5):
        queue = shared.enqueue(1, b"%d" % number)
    assert queue is not None and queue.dropped == 5
    assert shared.dequeue(1) == b"5"
    assert shared.enqueue(9, b"x") is None and shared.dequeue(9) is False
    while shared.dequeue(1):
        pass
    assert shared.dequeue(1) is None
    shared.disown(self_key)
    assert queue.owner is None


def test_W18_there_are_so_many_queues() -> None:
    shared = SharedState()
    tokens = [shared.register_queue("v", b"%d" % number, None, print) for number in range(MAX_QUEUES + 1)]
    assert tokens[-1] is None and None not in tokens[:-1]
