// A plain client that says what it is told to, over `ws` or `socket.io-client`, and tells whatever it hears.
//
//   node peer.mjs --url URL [--transports polling,websocket] [--token TOKEN] [--client ID] [--text]
//
// Its standard input has a JSON line each: `{"send": frame}`, `{"ask": frame}` for one that wants an answer, `{"close":
// true}`. It says `resume` by itself, and tells `{"up": transport}` when that is answered.
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { connect } from './links.mjs';

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    transports: { type: 'string' },
    token: { type: 'string' },
    client: { type: 'string', default: 'plain' },
    text: { type: 'boolean', default: false },
  },
});
const say = (line) => console.log(JSON.stringify(line));
const base = (frame) => ({ client_id: options.client, timestamp: new Date().toISOString(), ...frame });
let link;

connect(options, {
  up(to) {
    link = to;
    link.send(base({ type: 'resume', last_ack_seq: 0 }));
  },
  frame(frame) {
    if (frame.type === 'resume_response') say({ up: link.transport ?? 'ws' });
    else say({ heard: frame });
  },
  refused: (why) => say({ refused: why }),
  down: (reason) => say({ down: reason }),
});

createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line);
  if (order.send) link.send(base(order.send));
  if (order.ask) link.send(base(order.ask), (...args) => say({ answer: args }));
  if (order.transport) say({ transport: link.transport });
  if (order.close) link.close();
});
