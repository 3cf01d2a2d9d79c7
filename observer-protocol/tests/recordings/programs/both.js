// Both ends of a connection, for record.py: PORT PROXY CERTIFICATE KEY KEYLOG VERSION TURNS. Says the suite.
'use strict';
const fs = require('fs');
const tls = require('tls');

const [port, proxy, certificate, key, log, version, turnsText] = process.argv.slice(2);
const turns = turnsText.split(',').map((turn) => [turn[0], Number(turn.slice(1))]);
const versions = { minVersion: `TLSv${version}`, maxVersion: `TLSv${version}` };
const pattern = (side, from, count) => {
  const word = side === 'c' ? 'client' : 'server';
  let text = '';
  for (let line = 0; text.length < from + count; line += 1) text += `${String(line).padStart(8, '0')} ${word}\n`;
  return text.slice(from, from + count);
};

// Takes turns: writes its own, reads the other's.
function speak(side, connection, done) {
  const said = { c: 0, s: 0 };
  let turn = 0;
  let got = 0;
  const step = () => {
    while (turn < turns.length) {
      const [who, count] = turns[turn];
      if (who === side) connection.write(pattern(side, said[who], count));
      else if (got < count) return;
      else got -= count;
      said[who] += count;
      turn += 1;
    }
    done();
  };
  connection.on('data', (data) => { got += data.length; step(); });
  step();
}

const server = tls.createServer({
  cert: fs.readFileSync(certificate), key: fs.readFileSync(key), ALPNProtocols: ['http/1.1'], ...versions,
}, (connection) => speak('s', connection, () => {}));
server.on('keylog', (line) => fs.appendFileSync(log, line));
server.listen(Number(port), '127.0.0.1', () => {
  const client = tls.connect({
    port: Number(proxy), host: '127.0.0.1', servername: 'recorded.example', ca: fs.readFileSync(certificate),
    ALPNProtocols: ['h2', 'http/1.1'], ...versions,
  }, () => {
    console.log(client.getCipher().standardName);
    speak('c', client, () => { client.end(); server.close(); });
  });
});
