'use strict';
// The peer every ratio is about: plain node:http on Node's cluster module, nothing else switched on.
// It has the pages of benchmarks/apps.py.
// usage: node node_cluster.js WORKERS [HELLO]; BACKLOG and KEEP_ALIVE_MS in the environment
const cluster = require('node:cluster');
const http = require('node:http');

const PIECE = Buffer.alloc(65536);
const PIECES = 160;

function respond(response, body, status = 200) {
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(body);
}

function swallow(request, response) {
  let length = 0;
  request.on('data', (piece) => { length += piece.length; });
  request.on('end', () => respond(response, `${length}\n`));
}

function download(response) {
  let left = PIECES;
  response.writeHead(200, {
    'Content-Type': 'application/octet-stream',
    'Content-Length': PIECES * PIECE.length,
  });
  const more = () => {
    while (left > 0) {
      left -= 1;
      if (!response.write(PIECE)) {
        response.once('drain', more);
        return;
      }
    }
    response.end();
  };
  more();
}

// Both keep the whole worker busy, on purpose: nothing else runs in it meanwhile.
const cell = new Int32Array(new SharedArrayBuffer(4));

function block(seconds) {
  if (seconds > 0) Atomics.wait(cell, 0, 0, seconds * 1000);
}

function burn(seconds) {
  const micros = seconds * 1e6;
  const start = process.cpuUsage();
  let spent = 0;
  while (spent < micros) {
    const { user, system } = process.cpuUsage(start);
    spent = user + system;
  }
}

// `/block/SECONDS?slow=PID&times=F`: F times as long in the process PID.
function work(response, url, does, word) {
  const [path, query] = url.split('?');
  const seconds = path.slice(path.lastIndexOf('/') + 1);
  const fields = new URLSearchParams(query);
  const times = Number(fields.get('slow')) === process.pid ? Number(fields.get('times')) : 1;
  does(Number(seconds) * times);
  respond(response, `${word} ${seconds} s in pid ${process.pid}\n`);
}

function dispatch(request, response) {
  const { url } = request;
  if (url === '/sink') swallow(request, response);
  else if (url === '/download') download(response);
  else if (url === '/pid') respond(response, `answered in pid ${process.pid}\n`);
  else if (url.startsWith('/sleep/')) {
    const seconds = Number(url.slice('/sleep/'.length));
    setTimeout(() => respond(response, `slept ${seconds} s in pid ${process.pid}\n`), seconds * 1000);
  } else if (url.startsWith('/block/')) work(response, url, block, 'blocked');
  else if (url.startsWith('/burn/')) work(response, url, burn, 'burned');
  else respond(response, 'no such page\n', 404);
}

if (cluster.isPrimary) {
  const workers = Number(process.argv[2]);
  let ready = 0;
  let port = 0; // the first worker's; workers forked later listen on the same one
  cluster.on('listening', (worker, address) => {
    ready += 1;
    port = address.port;
    console.log(`worker ${worker.id} ready`);
    if (ready === workers) console.log(`listening on ${port} with ${workers} workers`);
  });
  cluster.on('exit', () => cluster.fork({ PORT: port }));
  for (let i = 0; i < workers; i += 1) cluster.fork();
} else {
  const body = process.argv[3] || `Hello from worker ${cluster.worker.id} (pid ${process.pid})\n`;
  const headers = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  };
  const server = http.createServer((request, response) => {
    if (request.url !== '/') {
      dispatch(request, response);
      return;
    }
    response.writeHead(200, headers);
    response.end(body);
  });
  server.keepAliveTimeout = Number(process.env.KEEP_ALIVE_MS ?? 5000);
  const backlog = Number(process.env.BACKLOG ?? 511);
  server.listen({ port: Number(process.env.PORT ?? 0), host: '127.0.0.1', backlog });
}
