'use strict';
// A Node cluster to compare with: WORKERS workers, each with LISTENERS HTTP servers on port 0,
// answering the paths of balancer's demo that the scenarios need. A worker that exits is replaced,
// as `cluster.on('exit', fork)` does. Commands come as lines on standard input, answers go as
// lines to standard output:
//   status         one line `status {...}`, in the shape of `balancer status --json`
//   disconnect ID  worker.disconnect() in the primary, then the same answer as status
// `ready [PORT, ...]` is printed once every first worker listens on every port.
// usage: node node_cluster.js WORKERS LISTENERS
const cluster = require('node:cluster');
const http = require('node:http');

const [workers, listeners] = process.argv.slice(2).map(Number);

function runPrimary() {
  const listening = new Map(); // worker id -> its ports, in the order it listened
  const draining = new Map(); // workers that left cluster.workers but still run
  let announced = false;

  const isReady = (worker) => (listening.get(worker.id) ?? []).length === listeners;

  function status() {
    const row = (worker, state) => ({ id: worker.id, pid: worker.process.pid, state });
    const live = Object.values(cluster.workers).filter((worker) => !draining.has(worker.id));
    return {
      master: { pid: process.pid, version: process.version },
      workers: [
        ...live.map((worker) => row(worker, isReady(worker) ? 'ready' : 'starting')),
        ...[...draining.values()].map((worker) => row(worker, 'draining')),
      ],
    };
  }

  const reply = () => console.log(`status ${JSON.stringify(status())}`);

  function disconnect(id) {
    const worker = cluster.workers[id];
    if (worker !== undefined) {
      draining.set(worker.id, worker);
      worker.disconnect();
    }
    reply();
  }

  function forkInOrder(left) {
    // One after the other, so that the workers' ids are also their listening order.
    if (left > 0) {
      cluster.fork().once('listening', () => forkInOrder(left - 1));
    }
  }

  cluster.on('listening', (worker, { port }) => {
    listening.set(worker.id, [...(listening.get(worker.id) ?? []), port]);
    if (!isReady(worker)) return;
    console.log(`worker ${worker.id} (pid ${worker.process.pid}): ready`);
    const ready = Object.values(cluster.workers).filter(isReady).length;
    if (!announced && ready === workers) {
      announced = true;
      console.log(`ready ${JSON.stringify(listening.get(1))}`);
    }
  });
  cluster.on('exit', (worker, code, signal) => {
    console.log(`worker ${worker.id} (pid ${worker.process.pid}): exited with ${signal ?? code}`);
    draining.delete(worker.id);
    if (!stopping) cluster.fork();
  });

  let stopping = false;
  process.on('SIGTERM', () => {
    stopping = true;
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
    process.exit(0);
  });
  require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const [command, id] = line.split(' ');
    if (command === 'status') reply();
    else if (command === 'disconnect') disconnect(Number(id));
  });
  forkInOrder(workers);
}

function answer(request, response) {
  const send = () => {
    const body = `Hello from worker ${cluster.worker.id} (pid ${process.pid})\n`;
    response.writeHead(200, {
      'Content-Type': 'text/plain; charset=utf-8',
      'Content-Length': Buffer.byteLength(body),
    });
    response.end(body);
  };
  const [, verb, argument] = request.url.split('/');
  if (verb === 'sleep') {
    setTimeout(send, Number(argument) * 1000);
  } else if (verb === 'block') {
    // Blocks the event loop without burning the core the test runs on.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(argument) * 1000);
    send();
  } else {
    send();
  }
}

function runWorker() {
  for (let i = 0; i < listeners; i += 1) {
    http.createServer(answer).listen(0, '127.0.0.1');
  }
}

if (cluster.isPrimary) runPrimary();
else runWorker();
