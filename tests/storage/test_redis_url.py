from __future__ import annotations

import sys

import pytest
from mitmproxy.exceptions import OptionsError

from addon import hooks, options
from storage.crypt import NONE
from storage.redis_url import Target, parse

GIVEN = {name: default for name, (default, _) in options.OPTIONS.items()}


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://localhost", Target("server", (("localhost", 6379),))),
        ("redis://10.0.0.1:7000/3", Target("server", (("10.0.0.1", 7000),), db=3)),
        ("redis://[::1]:7000", Target("server", (("::1", 7000),))),
        ("redis://:p%40ss@h", Target("server", (("h", 6379),), password="p@ss")),
        ("redis://mmu:a:b@h/?namespace=team", Target("server", (("h", 6379),), username="mmu", password="a:b",
                                                     namespace="team")),
        ("rediss://h?ssl_ca_certs=/ca.pem", Target("server", (("h", 6379),), tls=True,
                                                   files=(("ssl_ca_certs", "/ca.pem"),))),
        ("unix:///run/redis.sock?db=2", Target("socket", path="/run/redis.sock", db=2)),
        ("unix://u:p@/run/a%20b.sock", Target("socket", path="/run/a b.sock", username="u", password="p")),
        ("redis+sentinel://a,b:27000/mymaster/1",
         Target("sentinel", (("a", 26379), ("b", 27000)), service="mymaster", db=1)),
        ("rediss+sentinel://a/m", Target("sentinel", (("a", 26379),), service="m", tls=True)),
        ("redis+cluster://u:p@a:7000,b:7001",
         Target("cluster", (("a", 7000), ("b", 7001)), username="u", password="p")),
    ],
)  # fmt: skip
def test_what_a_url_says(url: str, target: Target) -> None:
    assert parse(url) == target
    assert options.read({**GIVEN, "mmu_redis": url}, {}).redis == target


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("localhost:6379", "begins with"),
        ("http://h", "begins with"),
        ("redis:h", "begins with"),
        ("redis://", "host or host:port"),
        ("redis://h:99999", "host or host:port"),
        ("redis://a,b", "several hosts"),
        ("redis://h/one", "the database is a number"),
        ("redis://:hush/hush@h", "database is a number"),
        ("redis://:hush#hush@h", "%23"),
        ("redis://:hush@hush@h:x", "host or host:port"),
        ("redis://:hush@[h", "no URL"),
        ("redis://:hush@h?timeout=1", "behind ?"),
        ("redis://:hush@h?ssl_ca_certs=/ca.pem", "behind ?"),
        ("redis://:hush@h?namespace=a b", "namespace"),
        ("unix://", "unix:///path"),
        ("unix://relative/path", "unix:///path"),
        ("redis+sentinel://:hush@a,b", "name of the service"),
        ("redis+cluster://a/1", "only database 0"),
    ],
)
def test_what_is_no_url_is_said_without_the_password(url: str, says: str) -> None:
    with pytest.raises(OptionsError, match="mmu_redis: ") as caught:
        options.read({**GIVEN, "mmu_redis": url}, {})
    assert says in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_target_shows_no_password() -> None:
    target = parse("redis://mmu:hush@[::1]:7000/3")
    assert "hush" not in repr(target)
    assert str(target) == "[::1]:7000"
    settings = options.read({**GIVEN, "mmu_redis": "redis://:hush@h"}, {})
    assert "hush" not in repr(settings)


def test_without_the_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "find_spec", lambda name: None)
    with pytest.raises(OptionsError, match=r"pip install .*mitmmu\[redis\]"):
        options.read({**GIVEN, "mmu_redis": "redis://h"}, {})
    assert options.read(GIVEN, {}).redis is None


def test_a_client_that_cannot_be_loaded_costs_no_more_than_redis(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A module called redis that is another's, say."""
    monkeypatch.setitem(sys.modules, "storage.on_redis", None)
    assert hooks._beside(options.read({**GIVEN, "mmu_redis": "redis://:hush@h"}, {}), NONE) is None
    assert "there is no mmu_redis" in caplog.text
    assert "hush" not in caplog.text
    assert hooks._beside(options.read(GIVEN, {}), NONE) is None


@pytest.mark.parametrize("wrong", ["", "0", "-1", "1.5", "day"])
def test_a_time_to_live_is_seconds(wrong: str) -> None:
    with pytest.raises(OptionsError, match="mmu_redis_ttl"):
        options.read({**GIVEN, "mmu_redis_ttl": wrong}, {})
