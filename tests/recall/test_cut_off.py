"""A continuation that is cut off lets go of its connection, whatever mitmproxy is doing at that moment."""

from __future__ import annotations

import asyncio
from unittest.mock import create_autospec

import pytest
from mitmproxy.options import Options
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.test import tflow

from addon.upstream import _Handler


@pytest.mark.parametrize("data", [b"more of the answer", b""])
async def test_a_connection_cancelled_while_it_waits_for_its_turn_is_closed(data: bytes) -> None:
    flow = tflow.tflow()
    handler = _Handler(flow, Options(), asyncio.Queue())
    reader, writer = asyncio.StreamReader(), create_autospec(asyncio.StreamWriter, instance=True)
    handler.transports[flow.server_conn] = ConnectionIO(reader=reader, writer=writer)
    if data:
        reader.feed_data(data)
    async with handler._server_event_lock:
        task = asyncio.ensure_future(handler.handle_connection(flow.server_conn))
        for _ in range(2):  # an idle connection notices the first one, and waits to say so
            await asyncio.sleep(0.01)
            task.cancel()
        await asyncio.wait([task])
    writer.close.assert_called()
    assert flow.server_conn not in handler.transports
