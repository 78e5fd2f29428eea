from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.arms import Client
from benchmarks.measure import Measurement, Row, Served, failures, total
from benchmarks.meter import Meter
from benchmarks.rebuild import rebuild
from benchmarks.test_rebuild import SHORT, session
from benchmarks.traces import Trace
from tests.upstream import Request, Upstream


def row(plain: float, managed: float, charge: float = 0.0) -> Row:
    made = Row("sample", charge=charge)
    made.plain.dollars, made.managed.dollars = plain, managed
    return made


def test_the_gate_allows_half_a_per_cent_and_no_more_with_quote_faults_charged() -> None:
    assert failures([row(10, 9), row(1, 1.004)]) == []
    assert len(failures([row(10, 9), row(1, 1.006)])) == 1
    assert len(failures([row(10, 9), row(1, 0.99, charge=0.02)])) == 1


def test_the_sum_must_become_smaller_and_violations_count() -> None:
    assert failures([row(1, 1)]) == ["the sum of all sessions is not smaller"]
    refused = row(10, 9)
    refused.violations.append("request 3 was refused")
    assert failures([refused]) == ["sample: request 3 was refused"]


def test_sums_add_up() -> None:
    whole = total([row(10, 9, 1), row(20, 10, 2)])
    assert (whole.plain.dollars, whole.managed.dollars, whole.charge) == (30, 19, 3)
    assert whole.saved_charged == pytest.approx(8 / 30)


def test_an_epoch_is_a_prefix_that_the_client_did_not_change() -> None:
    made = session(*SHORT)
    measured = Measurement(made)

    def served(kept: float) -> Served:
        return Served(made.body(made.turns[1]), 1, 2, 3, 4, 5, 0.1, kept)

    measured.add(made.turns[1], served(1.0), served(1.0))
    measured.add(made.turns[1], served(1.0), served(0.7))
    measured.add(made.turns[1], served(0.5), served(0.5))
    assert measured.row.epochs == 1


def test_the_client_is_served_its_recording_and_billed_like_the_meter() -> None:
    made = session(*SHORT)
    meter = Meter(made.ratio.bytes_per_token)
    with Upstream() as upstream:
        client = Client(made, upstream, upstream.url)
        for turn in made.turns:
            served = client.serve(turn)
            billed = meter.bill(made.body(turn), turn.at, served.output)
            assert json.loads(json.dumps(made.body(turn))) == served.body
            assert (served.tokens, served.read) == (billed.tokens, billed.read)
            assert served.dollars == pytest.approx(billed.dollars)
            assert served.prefix_kept == billed.prefix_kept
        client.close()
        assert (client.complaints, upstream.invalid) == ([], 0)


def test_a_reply_that_arrives_changed_is_a_complaint() -> None:
    def other(request: Request) -> dict[str, object]:
        return {"content": [{"type": "text", "text": "something else"}]}

    made = session(*SHORT)
    with Upstream() as upstream:
        client = Client(made, upstream, upstream.url)
        client.serve(made.turns[0])
        upstream.script(f"{made.name}/0", other)
        client.serve(made.turns[1])
        client.close()
    assert len(client.complaints) == 1


def test_signed_reasoning_is_sent_back_with_the_signature_that_was_received() -> None:
    thought = replace(SHORT[1], blocks=({"type": "thinking", "chars": 60}, *SHORT[1].blocks))
    trace = Trace("sample", "claude-code", "claude-opus-4-5", False, (SHORT[0], thought, *SHORT[2:]))
    made = rebuild(trace, thinking=True, model="claude-opus-5-5")
    with Upstream() as upstream:
        client = Client(made, upstream, upstream.url)
        served = [client.serve(turn) for turn in made.turns]
        client.close()
        assert upstream.invalid == 0
    thoughts = [b for b in served[-1].body["messages"][1]["content"] if b["type"] == "thinking"]
    assert thoughts[0]["signature"] not in ("", "unsigned")
