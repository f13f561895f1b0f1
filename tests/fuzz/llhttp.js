'use strict';
// Judges byte streams by Node's own parser, strict as a server has it.
//
// In: per stream the number of its pieces, and per piece its length and its bytes; numbers have four
// bytes, big endian. A piece is what one send of the proxy carried: after an offer to upgrade the
// parser leaves what came in the same piece to others. Out: per stream one line of JSON, the list
// of its messages [method, url, [name, value, ...], body, [trailers], complete], bytes as latin-1, and
// behind them the code of the error that ended it, or "".
process.noDeprecation = true;
const { HTTPParser, methods } = require('_http_common');

const MAX_HEADER_SIZE = 1 << 20;

function judge(pieces) {
  const messages = [];
  let message = null;
  let fields = [];
  let url = '';
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, MAX_HEADER_SIZE, 0);
  parser[HTTPParser.kOnMessageBegin | 0] = () => {};
  parser[HTTPParser.kOnHeaders | 0] = (headers, more) => {
    if (message === null) {
      fields.push(...headers);
      url += more;
    } else {
      message[4].push(...headers);
    }
  };
  parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, headers, method, target) => {
    message = [methods[method], target === undefined ? url : target,
               headers === undefined ? fields : headers, '', [], false];
    fields = [];
    url = '';
    messages.push(message);
    return 0; // a server without an `upgrade` listener goes on with HTTP
  };
  parser[HTTPParser.kOnBody | 0] = (data) => {
    message[3] += data.latin1Slice();
  };
  parser[HTTPParser.kOnMessageComplete | 0] = () => {
    message[5] = true;
    message = null;
  };
  let error = '';
  for (const piece of pieces) {
    const result = parser.execute(piece);
    if (result instanceof Error) error = result.code;
    else if (result !== piece.length) error = `stopped at ${result}`;
    if (error) break;
  }
  parser.close();
  return [messages, error];
}

// The pieces of the stream at `at`, and where it ends; null: it is not complete yet.
function split(buffer, at) {
  if (buffer.length - at < 4) return null;
  const pieces = [];
  let left = buffer.readUInt32BE(at);
  at += 4;
  for (; left > 0; left -= 1) {
    if (buffer.length - at < 4) return null;
    const end = at + 4 + buffer.readUInt32BE(at);
    if (end > buffer.length) return null;
    pieces.push(buffer.subarray(at + 4, end));
    at = end;
  }
  return [pieces, at];
}

let pending = Buffer.alloc(0);
process.stdin.on('data', (data) => {
  pending = pending.length ? Buffer.concat([pending, data]) : data;
  let at = 0;
  const lines = [];
  for (let found; (found = split(pending, at)) !== null; at = found[1]) {
    lines.push(JSON.stringify(judge(found[0])));
  }
  pending = pending.subarray(at);
  if (lines.length) process.stdout.write(lines.join('\n') + '\n');
});
