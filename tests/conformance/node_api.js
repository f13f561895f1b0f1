'use strict';
// A Node cluster that does what lines on standard input say, and tells its events as lines
// `event {...}`; tests/conformance/our_api.py is the same for balancer. A worker listens LISTENERS
// times on port 0, with maxConnections LIMIT, once the file GATE is there.
//   fork ENV             ENV: an object, as JSON
//   disconnect ID        worker.disconnect() in the primary
//   disconnect-all       cluster.disconnect(); `disconnected [IDS]` when it calls back
//   kill ID SIGNAL       worker.kill(SIGNAL)
//   send ID MESSAGE      worker.send(MESSAGE)
//   kill-and-send ID     both, to a worker that is dead already
//   workers              `workers [IDS]`
// A worker obeys {do: 'close' | 'listen' | 'disconnect' | 'block and close' | 'echo'}.
const cluster = require('node:cluster');
const fs = require('node:fs');
const http = require('node:http');

const listeners = Number(process.argv[2]);
const sleep = (seconds) =>
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, seconds * 1000);

function runPrimary() {
  const all = {};
  const tell = (name, worker, more = {}) =>
    console.log(`event ${JSON.stringify({ name, worker: worker.id, ...more })}`);
  cluster.on('fork', (worker) => tell('fork', worker));
  cluster.on('online', (worker) => tell('online', worker));
  cluster.on('listening', (worker, { port }) => tell('listening', worker, { port }));
  cluster.on('message', (worker, data) => tell('message', worker, { data }));
  const ead = (worker) => ({ voluntary: worker.exitedAfterDisconnect });
  cluster.on('disconnect', (worker) => tell('disconnect', worker, ead(worker)));
  cluster.on('exit', (worker, code, signal) =>
    tell('exit', worker, { code, signal, ...ead(worker) }));

  const commands = {
    fork(...env) {
      const worker = cluster.fork(JSON.parse(env.join(' ')));
      all[worker.id] = worker;
    },
    disconnect: (id) => all[id].disconnect(),
    'disconnect-all': () => cluster.disconnect(() => {
      const left = Object.values(all).filter((worker) => !worker.isDead());
      console.log(`disconnected ${JSON.stringify(left.map((worker) => worker.id))}`);
    }),
    kill: (id, signal) => all[id].kill(signal),
    send: (id, ...words) => all[id].send(JSON.parse(words.join(' '))),
    'kill-and-send': (id) => {
      all[id].process.kill('SIGKILL');
      sleep(0.1);
      all[id].send('hello?');
    },
    workers: () => console.log(`workers ${JSON.stringify(Object.keys(cluster.workers).map(Number))}`),
  };
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [command, ...words] = line.split(' ');
    commands[command](...words);
  });
}

function runWorker() {
  const servers = [];

  function answer(request, response) {
    const [, verb, argument] = request.url.split('/');
    const send = () => {
      const body = `Hello from worker ${cluster.worker.id} (pid ${process.pid})\n`;
      response.writeHead(200, { 'Content-Length': Buffer.byteLength(body) });
      response.end(body);
    };
    if (verb === 'sleep') setTimeout(send, Number(argument) * 1000);
    else {
      if (verb === 'block') sleep(Number(argument));
      send();
    }
  }

  function listen(index) {
    const server = http.createServer(answer);
    if (process.env.LIMIT) server.maxConnections = Number(process.env.LIMIT);
    servers[index] = server;
    server.listen(0, '127.0.0.1');
  }

  process.on('message', ({ do: what, ...words }) => {
    if (what === 'close') servers[0].close();
    else if (what === 'listen') listen(0);
    else if (what === 'disconnect') cluster.worker.disconnect();
    else if (what === 'echo') process.send(words);
    else if (what === 'block and close') {
      process.send('blocking');
      setTimeout(() => {
        sleep(words.seconds);
        servers[0].close();
      }, 50);
    }
  });
  const start = () => {
    if (process.env.GATE && !fs.existsSync(process.env.GATE)) setTimeout(start, 10);
    else for (let index = 0; index < listeners; index += 1) listen(index);
  };
  start();
}

if (cluster.isPrimary) runPrimary();
else runWorker();
