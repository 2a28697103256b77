"""What socketio-server.mjs is, with python-socketio on aiohttp: the same arguments, orders and lines."""

import argparse
import asyncio
import json
import logging
import sys
from collections import Counter
from datetime import datetime, timezone

import socketio
from aiohttp import web

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=3000)
parser.add_argument("--transports", default="polling,websocket")
parser.add_argument("--namespace", default="/")
parser.add_argument("--token")
options = parser.parse_args()

# That a client asks again for a session that was cut is no news.
logging.disable()

io = socketio.AsyncServer(
    async_mode="aiohttp", transports=options.transports.split(","), ping_interval=1, ping_timeout=2.5
)
clients, seen, sids, reasons, tasks = {}, set(), set(), Counter(), []
counts = Counter(applied=0, duplicates=0, connections=0, refused=0)


def say(line):
    print(json.dumps(line), flush=True)


async def send(sid, frame):
    stamp = {"timestamp": datetime.now(timezone.utc).isoformat()}
    await io.emit("message", frame | stamp, to=sid, namespace=options.namespace)


class Sockets(socketio.AsyncNamespace):
    def on_connect(self, sid, environ, auth):
        good = (auth or {}).get("token"), environ.get("HTTP_AUTHORIZATION")
        if options.token and good != (options.token, f"Bearer {options.token}"):
            counts["refused"] += 1
            raise socketio.exceptions.ConnectionRefusedError("not you", {"status": 401, "code": "token_expired"})
        counts["connections"] += 1
        sids.add(sid)

    def on_disconnect(self, sid, reason):
        reasons[reason] += 1
        sids.discard(sid)

    async def on_message(self, sid, frame):
        name = frame.get("client_id", sid)
        client = clients.setdefault(name, {"seq": 0})
        if frame["type"] == "resume":
            return await send(sid, {"type": "resume_response", "server_ack_seq": client["seq"]})
        seq, key = frame.get("seq", 0), frame.get("idempotency_key")
        client["seq"] = max(client["seq"], seq)
        counts["duplicates" if key in seen else "applied"] += 1
        if key not in seen:
            seen.add(key)
            say({"applied": {"client": name} | {field: frame.get(field) for field in ("seq", "event", "payload")}})
            for other in sids - {sid}:
                await send(other, frame)
        if seq:
            await send(sid, {"type": "ack", "ack_seq": seq, "client_id": name})


async def order(line, sid):
    at = {"to": sid, "namespace": options.namespace}
    if line == "cut":
        await io.eio.disconnect(io.manager.eio_sid_from_sid(sid, options.namespace))
    elif line == "disconnect":
        await io.disconnect(sid, namespace=options.namespace)
    elif line == "binary":
        await io.emit("other", (bytes(100_000), {"in": [b"b"]}), **at)
    elif line == "ask":
        await io.emit("message", {"type": "meta", "event": "pong"}, **at, callback=lambda *_: say({"answered": True}))


async def main():
    io.register_namespace(Sockets(options.namespace))
    app = web.Application()
    io.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", options.port).start()
    say({"listening": runner.addresses[0][1]})
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if line == "stats":
            transports = [io.transport(sid, options.namespace) for sid in sids]
            say({"stats": counts | {"reasons": reasons, "transports": transports}})
        for sid in list(sids):
            # A disconnect waits for the client, which may have gone.
            tasks.append(asyncio.create_task(order(line, sid)))


asyncio.run(main())
