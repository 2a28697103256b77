// Links of plain clients, over `ws` or over `socket.io-client`, that come back by themselves.
import { io } from 'socket.io-client';
import WebSocket from 'ws';

// Calls `on.up(link)`, `on.frame(frame, link)`, `on.refused(why)` and `on.down(reason)`. `text`: frames go as strings.
// `url`: an `http:` URL has a Socket.IO server, its path being the namespace.
export function connect({ url, transports, token, text }, on) {
  return url.startsWith('ws') ? plain(url, on) : socketIo(url, { transports, token, text }, on);
}

function plain(url, on) {
  const link = { over: false };
  const socket = new WebSocket(url);
  link.send = (frame) => socket.send(JSON.stringify(frame));
  link.close = () => {
    link.over = true;
    socket.close(1000);
  };
  socket.on('open', () => on.up(link));
  socket.on('message', (data) => on.frame(JSON.parse(data), link));
  socket.on('unexpected-response', (_, response) => on.refused({ status: response.statusCode }));
  socket.on('error', () => {});
  socket.on('close', (code) => {
    on.down(code);
    if (!link.over) setTimeout(plain, 100, url, on);
  });
}

function socketIo(url, { transports = 'polling,websocket', token, text }, on) {
  const auth = token === undefined ? {} : { token };
  const options = { auth, transports: transports.split(','), reconnectionDelay: 100, reconnectionDelayMax: 100 };
  const socket = io(url, options);
  const link = {
    send(frame, answer) {
      const message = ['message', text ? JSON.stringify(frame) : frame];
      if (answer) socket.emit(...message, answer);
      else socket.emit(...message);
    },
    close: () => socket.disconnect(),
  };
  socket.on('connect', () => {
    link.transport = socket.io.engine.transport.name;
    socket.io.engine.once('upgrade', (transport) => (link.transport = transport.name));
    on.up(link);
  });
  socket.on('message', (frame) => on.frame(frame, link));
  socket.on('connect_error', ({ message, data }) => socket.active || on.refused({ message, data }));
  socket.on('disconnect', (reason) => on.down(reason));
}
