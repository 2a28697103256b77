// A plain Socket.IO server (npm) that speaks section 1 of docs/protocol.md: a frame is the argument of `message`.
//
//   node socketio-server.mjs [--port N] [--transports polling,websocket] [--namespace /n] [--token T] [--status N]
//
// Prints a JSON line when it listens, and one for each event that it applies. On its standard input: `cut` drops every
// connection, `disconnect` every socket, `ask` wants an answer, `binary` sends bytes, `stats` prints what it counted.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Server } from 'socket.io';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '3000' },
    transports: { type: 'string', default: 'polling,websocket' },
    namespace: { type: 'string', default: '/' }, token: { type: 'string' }, status: { type: 'string', default: '401' },
  },
});
const say = (line) => console.log(JSON.stringify(line));
const counts = { applied: 0, duplicates: 0, connections: 0, upgrades: 0, refused: 0, reasons: {}, transports: [] };
const [clients, seen] = [new Map(), new Set()];

const web = createServer();
const io = new Server(web, { transports: options.transports.split(','), pingInterval: 500, pingTimeout: 2500 });
const sockets = io.of(options.namespace);
io.engine.on('connection', (link) => link.on('upgrade', () => (counts.upgrades += 1)));
const send = (socket, frame) => socket.emit('message', { ...frame, timestamp: new Date().toISOString() });

sockets.use((socket, next) => {
  const { auth, headers } = socket.handshake;
  const good = auth.token === options.token && headers.authorization === `Bearer ${options.token}`;
  if (options.token === undefined || good) return next();
  counts.refused += 1;
  next(Object.assign(new Error('not you'), { data: { status: Number(options.status), code: 'token_expired' } }));
});

function apply(frame, client, id) {
  const room = frame.payload?.room ?? frame.payload?.channelId ?? frame.channel ?? 'lobby';
  client.rooms.add(room);
  if (frame.seq !== undefined) client.seq = Math.max(client.seq, frame.seq);
  if (frame.idempotency_key && seen.has(frame.idempotency_key)) return void (counts.duplicates += 1);
  seen.add(frame.idempotency_key);
  counts.applied += 1;
  say({ applied: { client: id, seq: frame.seq, event: frame.event, payload: frame.payload } });
  for (const [other, member] of clients) {
    if (other === id || !member.rooms.has(room)) continue;
    member.socket.connected ? send(member.socket, frame) : member.missed.push(frame);
  }
}

sockets.on('connection', (socket) => {
  counts.connections += 1;
  socket.on('disconnect', (reason) => (counts.reasons[reason] = (counts.reasons[reason] ?? 0) + 1));
  socket.on('message', (frame) => {
    const id = frame.client_id ?? socket.id;
    if (!clients.has(id)) clients.set(id, { seq: 0, rooms: new Set(), missed: [] });
    const client = Object.assign(clients.get(id), { socket });
    if (frame.type === 'resume') {
      send(socket, { type: 'resume_response', server_ack_seq: client.seq, missing: client.missed.splice(0) });
    } else if (frame.type === 'event') {
      apply(frame, client, id);
      if (frame.seq !== undefined) send(socket, { type: 'ack', ack_seq: frame.seq, client_id: id });
    }
  });
});

const each = (then) => [...sockets.sockets.values()].forEach(then);
createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'cut') each(({ conn }) => conn.transport.socket?.terminate?.() ?? conn.close(true));
  if (line === 'disconnect') each((socket) => socket.disconnect());
  if (line === 'binary') each((socket) => socket.emit('other', Buffer.alloc(100_000, 7), { in: [Buffer.from('b')] }));
  if (line === 'ask') {
    each((s) => s.timeout(2000).emit('message', { type: 'meta', event: 'pong' }, (e) => say({ answered: !e })));
  }
  if (line === 'stats') {
    counts.transports = [...sockets.sockets.values()].map(({ conn }) => conn.transport.name);
    say({ stats: counts });
  }
});
web.listen(Number(options.port), '127.0.0.1', () => say({ listening: web.address().port }));
