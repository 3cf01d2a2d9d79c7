// Answers /call/ID with what the backend answers to /id/ID: node node_gateway.js PORT BACKEND_PORT
const http = require('node:http');

const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const server = http.createServer((request, response) => {
  const id = request.url.split('/')[2];
  http.get({ host: '127.0.0.1', port: Number(process.argv[3]), path: `/id/${id}`, agent }, (answer) => {
    answer.resume();
    answer.on('end', () => {
      response.statusCode = answer.statusCode;
      response.end(`${id}\n`);
    });
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
