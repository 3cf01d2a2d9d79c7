// A hop of a chain in Node: node node.js PORT NEXT_PORT CLIENT
// CLIENT: agent (http.request), small (http.request over at most four connections), fetch, small-fetch (over at most four).
// What a path means stands in xtask/src/truth/path.rs.
// With TRUTH_TLS_NEXT or TRUTH_TLS_LISTEN, a folder with cert.pem and key.pem, it asks or answers over TLS.
const fs = require('node:fs');
const { readFile, promises } = fs;
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

const ask = client.endsWith('fetch') ? fetched : request;
if (client === 'small-fetch') {
  // Where undici keeps what fetch sends by; it is made with the first use.
  const key = Symbol.for('undici.globalDispatcher.1');
  fetch('http://127.0.0.1:9/').catch(() => {
    const { constructor: Agent } = globalThis[key];
    globalThis[key] = new Agent({ connections: 4, pipelining: 1 });
  });
}

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

// A limiter for all requests, as p-limit 3 is made: whoever ends starts what waits.
function limiter(most) {
  const waiting = [];
  let active = 0;
  const next = () => { active -= 1; if (waiting.length > 0) waiting.shift()(); };
  const run = async (work, resolve) => {
    active += 1;
    const result = (async () => work())();
    resolve(result);
    try { await result; } catch { /* Whoever asked is told. */ }
    next();
  };
  return (work) => new Promise((resolve) => {
    waiting.push(() => run(work, resolve));
    (async () => {
      await Promise.resolve();
      if (active < most && waiting.length > 0) waiting.shift()();
    })();
  });
}
const limit = limiter(3);

// The same without promises or closures of who waits: paths in a list, started by the callback of what ended.
const paths = [];
let asked = 0;
function start() {
  while (asked < 3 && paths.length > 0) {
    const { path, connections, done } = paths.shift();
    asked += 1;
    http.get({ host: '127.0.0.1', port: next, path, agent: agents[connections] }, (answer) => {
      answer.resume();
      answer.on('end', () => { asked -= 1; done(); start(); });
    }).on('error', console.error);
  }
}
const queued = (connections, path) => new Promise((done) => { paths.push({ path, connections, done }); start(); });

// One lock, handed on.
let last = Promise.resolve();
function locked(work) {
  const result = last.then(work);
  last = result.catch(() => {});
  return result;
}

let ticking = { until: 0 };
let ticks = 0;
setInterval(() => {
  if (performance.now() > ticking.until) return;
  ticks += 1;
  ask(ticking.connections, `/${ticking.connections}/direct/${ticking.row}.tick${process.pid}-${ticks}.0/0`).catch(console.error);
}, 5);

// Work that nothing asked for, some of it through the same limiter.
let looping = { until: 0 };
(async () => {
  for (let count = 0; ; count += 1) {
    // Not woken by the request that asks for it: that would have caused the next call.
    while (performance.now() > looping.until) await sleep(5);
    const { connections, row } = looping;
    const call = () => ask(connections, `/${connections}/direct/${row}.tick${process.pid}-loop${count}.1/0`);
    try { await (count % 2 === 0 ? call() : limit(call)); } catch (error) { console.error(error); }
  }
})();

async function serve(path, response) {
  const [, connections, modes, tag, hop] = path.split('/');
  const [mode, ...rest] = modes.split('-');
  const pathOf = (number) => `/${connections}/${rest.join('-') || 'direct'}/${tag}/${hop}.${number}`;
  const call = (number) => ask(connections, pathOf(number));
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
    case 'limited': await limit(() => call(0)); return;
    case 'fan': await Promise.all([0, 1, 2].map((number) => limit(() => call(number)))); return;
    // A request that has a call of its own under way while another one waits.
    case 'guarded': await Promise.all([call(0), limit(() => call(1))]); return;
    case 'queued': await Promise.all([0, 1].map((number) => queued(connections, pathOf(number)))); return;
    case 'locked': await locked(() => call(0)); return;
    case 'timeout': await new Promise((resolve) => { setTimeout(() => { call(0).then(resolve, resolve); }, Math.random() * 10); }); return;
    case 'immediate': await new Promise((resolve) => { setImmediate(() => { call(0).then(resolve, resolve); }); }); return;
    case 'file': await new Promise((resolve) => { readFile(__filename, () => { call(0).then(resolve, resolve); }); }); return;
    case 'files': await promises.readFile(__filename); await call(0); return;
    case 'loop':
      looping = { until: performance.now() + 100, connections, row: tag.split('.')[0] };
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
