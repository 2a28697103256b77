// A Socket.IO server (npm) with events of its own, as ERPNext has them: rooms that are subscribed to by positional
// arguments, forgotten with the connection; an `Origin` that has to be there; answers and bytes both ways.
//
//   node plain-server.mjs [--port N] [--transports polling,websocket]
//
// On its standard input: `cut` drops every connection, `update` tells the subscribed, `ask` asks every socket.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { Server } from 'socket.io';

const { values: options } = parseArgs({
  options: { port: { type: 'string', default: '9000' }, transports: { type: 'string', default: 'polling,websocket' } },
});
const say = (line) => console.log(JSON.stringify(line));
const web = createServer();
const io = new Server(web, { transports: options.transports.split(','), pingInterval: 500, pingTimeout: 2500 });
const site = io.of(/^\/.*$/);

site.use((socket, next) => {
  const { origin, authorization } = socket.handshake.headers;
  if (origin !== 'https://site.example') return next(new Error('Invalid origin'));
  if (authorization !== 'token key:secret') return next(new Error('Unauthorized: no such key'));
  next();
});
site.on('connection', (socket) => {
  socket.on('doc_subscribe', (doctype, name) => {
    socket.join(`doc:${doctype}/${name}`);
    say({ subscribed: `${doctype}/${name}` });
  });
  socket.on('sum', (...args) => {
    const answer = args.pop();
    answer(args.reduce((sum, n) => sum + n, 0));
  });
  socket.on('mirror', (bytes, nested, answer) => answer({ in: nested.in }, Buffer.from(bytes).reverse()));
  socket.on('silence', () => {});
});

const everyone = () => [...io._nsps.values()].flatMap((namespace) => [...namespace.sockets.values()]);
createInterface({ input: process.stdin }).on('line', (line) => {
  if (line === 'cut') everyone().forEach(({ conn }) => conn.transport.socket?.terminate?.() ?? conn.close(true));
  if (line === 'update') {
    const update = { doctype: 'Sales Order', name: 'SO-1' };
    everyone().forEach((socket) => socket.nsp.to('doc:Sales Order/SO-1').emit('doc_update', update, Buffer.alloc(9)));
  }
  if (line === 'ask') {
    everyone().forEach((socket) =>
      socket.timeout(2000).emit('question', 6, 7, (error, answer, bytes) =>
        say({ answered: error ? String(error) : [answer, [...bytes]] }),
      ),
    );
  }
});
web.listen(Number(options.port), '127.0.0.1', () => say({ listening: web.address().port }));
