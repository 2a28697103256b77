// A plain `ws` or `socket.io-client` client that speaks section 1 of docs/protocol.md and nothing more.
//
//   node client.mjs --url ws://127.0.0.1:3001/ws [--client ID] [--room ROOM] [--send N] [--expect N] [--seconds N]
//   node client.mjs --url http://127.0.0.1:3000 --transports polling,websocket [--token TOKEN] ...
//
// Sends N numbered events to a room and waits until all are acked and as many others as expected have come,
// across lost connections. Prints a JSON line for each event and a last one with its counts; exits 1 on time-out.
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import { io } from 'socket.io-client';
import WebSocket from 'ws';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    client: { type: 'string', default: randomUUID() },
    room: { type: 'string', default: 'lobby' },
    send: { type: 'string', default: '0' },
    expect: { type: 'string', default: '0' },
    transports: { type: 'string' },
    token: { type: 'string' },
    seconds: { type: 'string', default: '30' },
  },
});
const say = (line) => console.log(JSON.stringify(line));
const [toSend, toExpect] = [Number(options.send), Number(options.expect)];
const counts = { connections: 0, sent: 0, resent: 0, acked: 0, received: 0, duplicates: 0, errors: 0 };
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

function take(socket, frame) {
  if (frame.type === 'resume_response') {
    for (const missed of frame.missing ?? []) take(socket, missed);
    if (queued) counts.resent += waiting.size;
    else enqueue();
    for (const event of waiting.values()) socket.send(JSON.stringify(event));
    counts.sent += waiting.size;
  } else if (frame.type === 'ack') {
    if (waiting.delete(frame.ack_seq)) counts.acked += 1;
    lastAck = Math.max(lastAck, frame.ack_seq);
  } else if (frame.type === 'event') {
    const key = frame.idempotency_key;
    if (key !== undefined && seen.has(key)) counts.duplicates += 1;
    else counts.received += 1;
    if (key !== undefined) seen.add(key);
    say({ event: frame.event, seq: frame.seq, sender: frame.sender, payload: frame.payload });
  } else if (frame.type === 'error') {
    counts.errors += 1;
    say({ error: frame.payload });
  }
  over = queued && waiting.size === 0 && counts.received >= toExpect;
  if (over) socket.close(1000);
}

function connectSocketIo() {
  const auth = options.token === undefined ? {} : { token: options.token };
  const transports = options.transports.split(',');
  const socket = io(options.url, { auth, transports, reconnectionDelay: 100, reconnectionDelayMax: 100 });
  const link = { send: (text) => socket.emit('message', JSON.parse(text)), close: () => socket.disconnect() };
  socket.on('connect', () => {
    counts.connections += 1;
    socket.emit('message', { ...base('resume'), last_ack_seq: lastAck });
    if (socket.io.engine.transport.name === transports.at(-1)) counts.transport = transports.at(-1);
    else socket.io.engine.once('upgrade', (transport) => (counts.transport = transport.name));
  });
  socket.on('message', (frame) => take(link, frame));
  socket.on('connect_error', (error) => {
    if (!socket.active) say({ refused: { message: error.message, data: error.data } });
  });
  socket.on('disconnect', () => over && finish(0));
}

function connect() {
  const socket = new WebSocket(options.url);
  socket.on('open', () => {
    counts.connections += 1;
    socket.send(JSON.stringify({ ...base('resume'), last_ack_seq: lastAck }));
  });
  socket.on('message', (data) => take(socket, JSON.parse(data)));
  socket.on('error', () => {});
  socket.on('close', () => (over ? finish(0) : setTimeout(connect, 100)));
}

setTimeout(() => finish(1), Number(options.seconds) * 1000);
if (options.transports === undefined) connect();
else connectSocketIo();
