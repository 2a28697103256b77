// A plain `ws` server that speaks section 1 of docs/protocol.md and nothing more.
//
//   node server.mjs [--port N] [--no-resume]
//
// Prints a JSON line when it listens, and one for each event that it applies. Takes lines on its standard input:
// `cut` drops every connection without a close, `stats` prints what it counted.
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { WebSocket, WebSocketServer } from 'ws';

const { values: options } = parseArgs({
  options: { port: { type: 'string', default: '3001' }, 'no-resume': { type: 'boolean', default: false } },
});
const say = (line) => console.log(JSON.stringify(line));
const now = () => new Date().toISOString();
const counts = { applied: 0, duplicates: 0, connections: 0, malformed: 0 };

// By client id: its socket, the highest seq that it sent, its rooms, and what it missed while it was away.
const clients = new Map();
const seen = new Set();

function clientOf(id, socket) {
  if (!clients.has(id)) clients.set(id, { socket, seq: 0, rooms: new Set(), missed: [] });
  const client = clients.get(id);
  client.socket = socket;
  return client;
}

function send(socket, frame) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ...frame, timestamp: now() }));
}

function apply(frame, client, id) {
  const room = frame.payload?.room ?? frame.payload?.channelId ?? frame.channel ?? 'lobby';
  client.rooms.add(room);
  if (frame.seq !== undefined) client.seq = Math.max(client.seq, frame.seq);
  const key = frame.idempotency_key;
  if (key !== undefined && seen.has(key)) {
    counts.duplicates += 1;
    return;
  }
  if (key !== undefined) seen.add(key);
  counts.applied += 1;
  say({ applied: { client: id, seq: frame.seq, event: frame.event, payload: frame.payload } });
  for (const [other, member] of clients) {
    if (other === id || !member.rooms.has(room)) continue;
    if (member.socket.readyState === WebSocket.OPEN) send(member.socket, frame);
    else member.missed.push(frame);
  }
}

const server = new WebSocketServer({ port: Number(options.port), host: '127.0.0.1' });
server.on('listening', () => say({ listening: server.address().port }));
server.on('connection', (socket) => {
  counts.connections += 1;
  let id = `anonymous-${counts.connections}`;
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      counts.malformed += 1;
      return send(socket, { type: 'error', payload: { code: 'invalid', message: 'not JSON' } });
    }
    id = frame.client_id ?? id;
    const client = clientOf(id, socket);
    if (frame.type === 'event') {
      apply(frame, client, id);
      if (frame.seq !== undefined) send(socket, { type: 'ack', ack_seq: frame.seq, client_id: id });
    } else if (frame.type === 'resume' && !options['no-resume']) {
      send(socket, { type: 'resume_response', server_ack_seq: client.seq, missing: client.missed.splice(0) });
    }
  });
});

createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'cut') for (const socket of server.clients) socket.terminate();
  if (line === 'stats') say({ stats: counts });
});
