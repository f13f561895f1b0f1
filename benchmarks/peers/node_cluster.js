'use strict';
// The peer every ratio is about: a hello world on Node's cluster module, nothing else switched on.
// usage: node node_cluster.js WORKERS
const cluster = require('node:cluster');
const http = require('node:http');

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
  const body = `Hello from worker ${cluster.worker.id} (pid ${process.pid})\n`;
  const headers = {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  };
  http
    .createServer((request, response) => {
      response.writeHead(200, headers);
      response.end(body);
    })
    .listen(Number(process.env.PORT ?? 0), '127.0.0.1');
}
