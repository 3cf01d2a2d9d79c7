// An HTTP client over TLS: node tls_client.js LIBRARY CERTIFICATES URL PATH...
//
// LIBRARY: https (an agent that keeps four connections), fetch (Node's own; set NODE_EXTRA_CA_CERTS). CERTIFICATES is a folder with
// cert.pem. Asks URL for each PATH by GET, or sends so many bytes by POST where the path is /echo/BYTES; writes a line for
// each answer: status, bytes of its body, path.
const fs = require('node:fs');
const https = require('node:https');

const [library, certificates, url, ...paths] = process.argv.slice(2);
const body = (path) => (path.startsWith('/echo/') ? Buffer.alloc(Number(path.split('/')[2]), 'y') : undefined);
const say = (status, length, path) => console.log(`${status} ${length} ${path}`);

const agent = new https.Agent({ keepAlive: true, maxSockets: 4, ca: fs.readFileSync(`${certificates}/cert.pem`) });

function byAgent(path) {
  return new Promise((resolve, reject) => {
    const content = body(path);
    const request = https.request(url + path, { agent, method: content ? 'POST' : 'GET' }, (response) => {
      let length = 0;
      response.on('data', (piece) => { length += piece.length; });
      response.on('end', () => { say(response.statusCode, length, path); resolve(); });
    });
    request.on('error', reject);
    request.end(content);
  });
}

async function byFetch(path) {
  const content = body(path);
  const response = await fetch(url + path, { method: content ? 'POST' : 'GET', body: content });
  say(response.status, (await response.arrayBuffer()).byteLength, path);
}

(async () => {
  if (library === 'https') {
    await Promise.all(paths.map(byAgent));
  } else {
    for (const path of paths) await byFetch(path);
  }
  agent.destroy();
  process.exit(0);
})();
