// The test service on Node's own http module: node node_server.js PORT [CERTIFICATES]
//
// CERTIFICATES is a folder with cert.pem and key.pem: then it speaks HTTPS.
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');

const certificates = process.argv[3];
const file = (name) => fs.readFileSync(`${certificates}/${name}.pem`);
const create = (handle) => (certificates
  ? https.createServer({ cert: file('cert'), key: file('key') }, handle)
  : http.createServer(handle));

const server = create((request, response) => {
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
