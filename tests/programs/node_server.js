// The test service on Node's own http module: node node_server.js PORT
const http = require('node:http');

const server = http.createServer((request, response) => {
  let received = 0;
  request.on('data', (piece) => { received += piece.length; });
  request.on('end', () => {
    const [, kind, value] = request.url.split('?')[0].split('/');
    let status = 200;
    let body = 'ok\n';
    if (kind === 'status') status = Number(value);
    if (kind === 'bytes') body = Buffer.alloc(Number(value), 'x');
    if (kind === 'echo') body = `${received}\n`;
    const answer = () => {
      response.statusCode = status;
      response.end(status === 204 || status === 304 ? undefined : body);
    };
    if (kind === 'sleep') setTimeout(answer, Number(value)); else answer();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2]), '127.0.0.1');
