// A Socket.IO client (npm) that emits with acks, as fast as it can: the yardstick of `cargo xtask bench`.
//
//   node bench-client.mjs --url http://127.0.0.1:3000 --count N --window N
//
// Emits messages of 256 bytes, so many unacked at a time: a tenth, and 10,000 at least, to get warm, and then N that are
// measured. Prints a line for each figure: acked messages a second, and the CPU of one in microseconds.
import { parseArgs } from 'node:util';
import { io } from 'socket.io-client';

const { values: options } = parseArgs({
  options: { url: { type: 'string' }, count: { type: 'string' }, window: { type: 'string' } },
});
const [count, window] = [Number(options.count), Number(options.window)];
const payload = '0123456789abcdef'.repeat(16).slice(0, 254);

const socket = io(options.url, { transports: ['websocket'] });
socket.on('connect_error', (error) => {
  console.error(error.message);
  process.exit(1);
});

function drive(total) {
  return new Promise((done) => {
    let [sent, acked] = [0, 0];
    const next = () => {
      sent += 1;
      socket.emit('bench.message', payload, () => {
        acked += 1;
        if (sent < total) next();
        else if (acked === total) done();
      });
    };
    while (sent < Math.min(window, total)) next();
  });
}

socket.on('connect', async () => {
  await drive(Math.max(count / 10, 10_000));
  const [begun, before] = [performance.now(), process.cpuUsage()];
  await drive(count);
  const [took, { user, system }] = [performance.now() - begun, process.cpuUsage(before)];
  console.log(`rate ${(count * 1000) / took}`);
  console.log(`cpu ${(user + system) / count}`);
  process.exit(0);
});
