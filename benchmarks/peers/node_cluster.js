'use strict';
// The peer every ratio is about: plain node:http on Node's cluster module, nothing else switched on.
// It has the pages of benchmarks/apps.py.
// usage: node node_cluster.js WORKERS [HELLO]
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

function dispatch(request, response) {
  const { url } = request;
  if (url === '/sink') swallow(request, response);
  else if (url === '/download') download(response);
  else if (url === '/pid') respond(response, `answered in pid ${process.pid}\n`);
  else if (url.startsWith('/sleep/')) {
    const seconds = Number(url.slice('/sleep/'.length));
    setTimeout(() => respond(response, `slept ${seconds} s in pid ${process.pid}\n`), seconds * 1000);
  } else respond(response, 'no such page\n', 404);
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
  http
    .createServer((request, response) => {
      if (request.url !== '/') {
        dispatch(request, response);
        return;
      }
      response.writeHead(200, headers);
      response.end(body);
    })
    .listen(Number(process.env.PORT ?? 0), '127.0.0.1');
}
