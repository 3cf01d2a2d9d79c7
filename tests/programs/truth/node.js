// A hop of a chain in Node: node node.js PORT NEXT_PORT CLIENT
// CLIENT: agent (http.request), small (http.request over at most four connections), fetch.
// What a path means stands in xtask/src/truth/path.rs.
// With TRUTH_TLS_NEXT or TRUTH_TLS_LISTEN, a folder with cert.pem and key.pem, it asks or answers over TLS.
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { setTimeout: sleep } = require('node:timers/promises');

const [, , port, next, client] = process.argv;
const tlsNext = process.env.TRUTH_TLS_NEXT;
const tlsListen = process.env.TRUTH_TLS_LISTEN;
const asking = tlsNext ? https : http;
const trust = tlsNext ? { ca: fs.readFileSync(`${tlsNext}/cert.pem`) } : {};
const maxSockets = client === 'small' ? 4 : Infinity;
const agents = {
  keep: new asking.Agent({ keepAlive: true, maxSockets, ...trust }),
  fresh: new asking.Agent({ keepAlive: false, maxSockets, ...trust }),
};

function request(connections, path) {
  return new Promise((resolve, reject) => {
    const call = asking.get({ host: '127.0.0.1', port: next, path, agent: agents[connections] }, (answer) => {
      answer.resume();
      answer.on('end', resolve);
      answer.on('error', reject);
    });
    call.on('error', reject);
  });
}

async function fetched(connections, path) {
  const headers = connections === 'fresh' ? { connection: 'close' } : {};
  const answer = await fetch(`http://127.0.0.1:${next}${path}`, { headers });
  await answer.text();
}

const ask = client === 'fetch' ? fetched : request;

// Work for others is taken from here by loops that began before any request.
const queue = [];
let wake = [];
async function worker() {
  for (;;) {
    if (queue.length === 0) {
      await new Promise((resolve) => { wake.push(resolve); });
      continue;
    }
    const { work, done } = queue.shift();
    try { done.resolve(await work()); } catch (error) { done.reject(error); }
  }
}
for (let count = 0; count < 8; count += 1) worker();
function handOff(work) {
  return new Promise((resolve, reject) => {
    queue.push({ work, done: { resolve, reject } });
    for (const go of wake.splice(0)) go();
  });
}

let ticking = { until: 0 };
let ticks = 0;
setInterval(() => {
  if (performance.now() > ticking.until) return;
  ticks += 1;
  ask(ticking.connections, `/${ticking.connections}/direct/${ticking.row}.tick${process.pid}-${ticks}.0/0`).catch(console.error);
}, 5);

async function serve(path, response) {
  const [, connections, modes, tag, hop] = path.split('/');
  const [mode, ...rest] = modes.split('-');
  const call = (number) => ask(connections, `/${connections}/${rest.join('-') || 'direct'}/${tag}/${hop}.${number}`);
  switch (mode) {
    case 'after':
      response.on('finish', () => {
        setImmediate(() => ask(connections, `/${connections}/direct/${tag}~${hop}/0`).catch(console.error));
      });
      return;
    case 'twice': await call(0); await call(1); return;
    case 'parallel': await Promise.all([call(0), call(1)]); return;
    case 'sleep': await sleep(Math.random() * 20); await call(0); return;
    case 'spin':
      for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => { setImmediate(resolve); });
      await call(0);
      return;
    case 'handoff': await handOff(() => call(0)); return;
    case 'timer':
      ticking = { until: performance.now() + 100, connections, row: tag.split('.')[0] };
      await call(0);
      return;
    default: await call(0);
  }
}

const identity = tlsListen
  ? { cert: fs.readFileSync(`${tlsListen}/cert.pem`), key: fs.readFileSync(`${tlsListen}/key.pem`) }
  : {};
const server = (tlsListen ? https : http).createServer(identity, (incoming, response) => {
  serve(incoming.url, response).then(() => {
    response.setHeader('Content-Length', 3);
    response.end('ok\n');
  }, (error) => {
    console.error(error);
    response.statusCode = 500;
    response.end();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(Number(port), '127.0.0.1', 1024);
