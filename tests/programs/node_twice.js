// Asks the backend for /sleep/MS and then for /status/200, and answers /twice/MS: node node_twice.js PORT BACKEND_PORT
// A timer fires every millisecond, so that something else runs between the two.
const http = require('node:http');

const agent = new http.Agent({ keepAlive: true });
const ask = (path, done) => {
  http.get({ host: '127.0.0.1', port: Number(process.argv[3]), path, agent }, (answer) => {
    answer.resume();
    answer.on('end', done);
  });
};
setInterval(() => {}, 1);
const server = http.createServer((request, response) => {
  ask(`/sleep/${request.url.split('/')[2]}`, () => {
    ask('/status/200', () => response.end('ok\n'));
  });
});
server.listen(Number(process.argv[2]), '127.0.0.1');
