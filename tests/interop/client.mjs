// A plain `ws` or `socket.io-client` client that speaks section 1 of docs/protocol.md and nothing more.
//
//   node client.mjs --url ws://127.0.0.1:3001/ws [--client ID] [--room ROOM] [--send N] [--expect N] [--seconds N]
//   node client.mjs --url http://127.0.0.1:3000 --transports polling,websocket [--token TOKEN] ...
//
// Sends N numbered events to a room and waits until all are acked and as many others as expected have come,
// across lost connections. Prints a JSON line for each event and a last one with its counts; exits 1 on time-out.
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { connect } from './links.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    client: { type: 'string', default: randomUUID() },
    room: { type: 'string', default: 'lobby' },
    send: { type: 'string', default: '0' },
    expect: { type: 'string', default: '0' },
    transports: { type: 'string' },
    token: { type: 'string' },
    seconds: { type: 'string', default: '45' },
  },
});
const say = (line) => console.log(JSON.stringify(line));
const [toSend, toExpect] = [Number(options.send), Number(options.expect)];
const counts = { connections: 0, sent: 0, resent: 0, acked: 0, received: 0, duplicates: 0, errors: 0, hints: 0 };
const waiting = new Map();
const seen = new Set();
let [lastAck, queued, over] = [0, false, false];

const base = (type) => ({ type, client_id: options.client, timestamp: new Date().toISOString() });

function enqueue() {
  for (let seq = 1; seq <= toSend; seq += 1) {
    const payload = { room: options.room, n: seq };
    waiting.set(seq, { ...base('event'), seq, idempotency_key: randomUUID(), event: 'chat.message', payload });
  }
  queued = true;
}

function finish(code) {
  process.stdout.write(`${JSON.stringify({ done: counts })}\n`, () => process.exit(code));
}

function take(link, frame) {
  if (frame.type === 'resume_response') {
    for (const missed of frame.missing ?? []) take(link, missed);
    if (queued) counts.resent += waiting.size;
    else enqueue();
    for (const event of waiting.values()) link.send(event);
    counts.sent += waiting.size;
  } else if (frame.type === 'ack') {
    if (waiting.delete(frame.ack_seq)) counts.acked += 1;
    lastAck = Math.max(lastAck, frame.ack_seq);
  } else if (frame.type === 'event') {
    const key = frame.idempotency_key;
    counts[key !== undefined && seen.has(key) ? 'duplicates' : 'received'] += 1;
    if (key !== undefined) seen.add(key);
    say({ event: frame.event, seq: frame.seq, sender: frame.sender, payload: frame.payload });
  } else if (frame.type === 'error') {
    counts.errors += 1;
    say({ error: frame.payload });
  } else if (frame.event === 'server.draining' && frame.payload.retry_after_ms > 0) counts.hints += 1;
  over = queued && waiting.size === 0 && counts.received >= toExpect;
  if (over) link.close();
}

setTimeout(() => finish(1), Number(options.seconds) * 1000);
connect(options, {
  up(link) {
    counts.connections += 1;
    link.send({ ...base('resume'), last_ack_seq: lastAck });
  },
  frame: (frame, link) => take(link, frame),
  refused: (why) => say({ refused: why }),
  down: () => over && finish(0),
});
