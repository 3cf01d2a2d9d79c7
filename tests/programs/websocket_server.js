// A WebSocket server on the package ws: says `welcome`, sends back what it gets, closes on `close CODE` and cuts off on `kill`.
const { WebSocketServer } = require('ws');

const options = { host: '127.0.0.1', port: Number(process.argv[2]), perMessageDeflate: process.argv[3] === 'deflate' };
new WebSocketServer(options).on('connection', (socket) => {
  socket.send('welcome');
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    const text = isBinary || data.length > 20 ? '' : data.toString();
    if (text.startsWith('close ')) {
      socket.close(Number(text.slice(6)));
    } else if (text === 'kill') {
      socket.terminate();
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
});
