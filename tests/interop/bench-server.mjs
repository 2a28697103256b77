// A Socket.IO server (npm) that does nothing but ack: each numbered frame of section 1 of docs/protocol.md with a frame
// of its own, and each `bench.message` by Socket.IO's own way.
//
//   node bench-server.mjs
//
// Prints a JSON line when it listens. On its standard input: `stats` prints what it counted, and begins anew. It ends with its input.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { Server } from 'socket.io';

const say = (line) => console.log(JSON.stringify(line));
const none = { frames: 0, disorder: 0, emits: 0 };
const counts = { ...none };
let highest = 0;

const web = createServer();
const io = new Server(web, { transports: ['websocket'] });
io.on('connection', (socket) => {
  socket.on('message', (frame) => {
    const base = { client_id: frame.client_id, timestamp: frame.timestamp };
    if (frame.type === 'resume') {
      socket.emit('message', { ...base, type: 'resume_response', server_ack_seq: highest, missing: [] });
    } else if (frame.type === 'event' && frame.seq !== undefined) {
      counts.frames += 1;
      // A client begins with whatever number, and goes on with the next one.
      if (highest > 0 && frame.seq !== highest + 1) counts.disorder += 1;
      highest = frame.seq;
      socket.emit('message', { ...base, type: 'ack', ack_seq: frame.seq });
    }
  });
  socket.on('bench.message', (payload, ack) => {
    counts.emits += 1;
    ack();
  });
});

const orders = createInterface({ input: process.stdin });
orders.on('line', (line) => {
  if (line !== 'stats') return;
  say({ stats: counts });
  Object.assign(counts, none);
  highest = 0;
});
orders.on('close', () => process.exit(0));
web.listen(0, '127.0.0.1', () => say({ listening: web.address().port }));
