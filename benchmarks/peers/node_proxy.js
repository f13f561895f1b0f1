'use strict';
// The reverse proxy one writes by hand on Node's cluster module: a keep-alive agent per worker, pipes
// both ways, hop-by-hop fields removed, X-Forwarded-* added, 502 where the upstream fails, and the
// other side ended where one side goes.
// usage: node node_proxy.js WORKERS UPSTREAM_PORT
const cluster = require('node:cluster');
const http = require('node:http');

const HOUR = 3600 * 1000;
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection',
  'te', 'trailer', 'transfer-encoding', 'upgrade',
]);

function withoutHopByHop(headers) {
  const kept = {};
  const { connection } = headers;
  // Almost always it names itself or nothing, and then there is no list to look through.
  const named = connection && connection !== 'keep-alive' && connection !== 'close'
    ? connection.toLowerCase().split(',').map((name) => name.trim())
    : null;
  for (const name in headers) {
    if (!HOP_BY_HOP.has(name) && !(named && named.includes(name))) kept[name] = headers[name];
  }
  return kept;
}

function forwarded(request) {
  const headers = withoutHopByHop(request.headers);
  const before = headers['x-forwarded-for'];
  const peer = request.socket.remoteAddress;
  headers['x-forwarded-for'] = before ? `${before}, ${peer}` : peer;
  headers['x-forwarded-proto'] = 'http';
  return headers;
}

function fail(response, status) {
  if (response.headersSent) {
    response.destroy(); // cut off, so that the client sees that it is not all
    return;
  }
  const body = `${http.STATUS_CODES[status]}\n`;
  response.writeHead(status, { 'Content-Type': 'text/plain', 'Content-Length': body.length });
  response.end(body);
}

function hasBody({ headers }) {
  return headers['transfer-encoding'] !== undefined
    || (headers['content-length'] !== undefined && headers['content-length'] !== '0');
}

function serve(port) {
  // As many as a worker has clients: a queue in the agent would be the bottleneck.
  const agent = new http.Agent({ keepAlive: true, maxSockets: 256, maxFreeSockets: 256 });
  return http.createServer((request, response) => {
    const upstream = http.request({
      agent,
      host: '127.0.0.1',
      port,
      method: request.method,
      path: request.url,
      headers: forwarded(request),
      timeout: 60 * 1000,
    });
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode, withoutHopByHop(answer.headers));
      answer.on('error', () => response.destroy());
      answer.on('aborted', () => response.destroy());
      answer.pipe(response);
    });
    upstream.on('timeout', () => upstream.destroy(new Error('timeout')));
    upstream.on('error', ({ message }) => fail(response, message === 'timeout' ? 504 : 502));
    response.on('close', () => {
      if (!response.writableFinished) upstream.destroy();
    });
    if (hasBody(request)) request.pipe(upstream);
    else upstream.end();
  });
}

if (cluster.isPrimary) {
  const workers = Number(process.argv[2]);
  let ready = 0;
  let port = 0; // the first worker's; workers forked later listen on the same one
  cluster.on('listening', (worker, address) => {
    ready += 1;
    port = address.port;
    if (ready === workers) console.log(`listening on ${port} with ${workers} workers`);
  });
  cluster.on('exit', () => cluster.fork({ PORT: port }));
  for (let i = 0; i < workers; i += 1) cluster.fork();
} else {
  const server = serve(Number(process.argv[3]));
  server.keepAliveTimeout = HOUR;
  server.requestTimeout = 0;
  server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', 4096);
}
