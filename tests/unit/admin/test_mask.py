from __future__ import annotations

from sidecar.admin.mask import masked


def test_A4_secrets_are_masked_by_their_key():
    page = {
        "plugins": [
            {
                "name": "auth",
                "config": {"realm": "shop", "client_secret": "s", "nested": [{"api_key": "k"}]},
                "vm_config": "v",
            },
            {"name": "raw", "config": "a whole text"},
        ],
        "headers": {"set": {"authorization": "Bearer hunter2", "x-version": "1"}},
        "identity": {"key_file": "/run/key", "password": "p", "private": b"x"},
    }
    assert masked(page) == {
        "plugins": [
            {"name": "auth", "config": {"realm": "shop", "client_secret": "***", "nested": [{"api_key": "***"}]},
             "vm_config": "***"},
            {"name": "raw", "config": "***"},
        ],
        "headers": {"set": {"authorization": "***", "x-version": "1"}},
        "identity": {"key_file": "/run/key", "password": "***", "private": "***"},
    }  # fmt: skip


def test_A4_secrets_are_masked_by_what_they_look_like():
    assert masked("-----BEGIN EC PRIVATE KEY-----\nabc") == "***"
    assert masked({"endpoint": "http://user:hunter2@collector:4317"}) == {"endpoint": "http://***@collector:4317"}


def test_switches_and_empty_values_stay_readable():
    assert masked({"token": "", "tokens": False, "secret": None}) == {"token": "", "tokens": False, "secret": None}


def test_structures_without_end_are_cut():
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    assert "***" in repr(masked(deep))
