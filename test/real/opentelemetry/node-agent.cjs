'use strict';
// A server like many: it works on a request by calling tools, some of them at once, some behind its answer. It copies the path of the
// request into each call, so that a tool knows for whom it is meant, and knows nothing of a sidecar, of traces or of tokens.
const http = require('node:http');
const https = require('node:https');
const { setTimeout: sleep } = require('node:timers/promises');

const { TOOLS, GRAVE, PORT, DURING, LATE, LATE_MS, GONE_MS } = process.env;
const tools = JSON.parse(TOOLS);
const outcomes = {};
let working = 0;

const dice = (sides) => Math.floor(Math.random() * sides);
const count = (phase, outcome) => (outcomes[`${phase} ${outcome}`] = (outcomes[`${phase} ${outcome}`] ?? 0) + 1);

async function withFetch(url) {
  const answer = await fetch(url);
  return { status: answer.status, body: await answer.text() };
}

function withHttp(url) {
  return new Promise((resolve, reject) => {
    const client = url.startsWith('https:') ? https : http;
    const request = client.get(url, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (text) => (body += text));
      answer.on('end', () => resolve({ status: answer.statusCode, body })).on('error', reject);
    });
    request.on('error', reject);
  });
}

/** One call, again where it may be that it works later; says in a word how it ended. `fetch` does not show a 407 to its caller. */
async function call(tool, path, isPatient) {
  const send = tool !== GRAVE && dice(2) === 0 ? withFetch : withHttp;
  for (let attempt = 1; ; attempt += 1) {
    let outcome;
    try {
      const { status, body } = await send(`${tool}${path}`);
      if (status === 200) return body === path ? 'ok' : 'answer-of-another';
      if (status < 500) return body.startsWith('{') ? JSON.parse(body).code : String(status);
      outcome = body.startsWith('{') ? JSON.parse(body).code : String(status);
    } catch (error) {
      outcome = `broken-${error.cause?.code ?? error.code ?? error.name}`;
    }
    if (!isPatient || attempt === 8) return outcome;
    count('again', outcome);
    await sleep(200 + dice(300) * attempt);
  }
}

async function one(phase, tool, path, isPatient = true) {
  working += 1;
  count(phase, await call(tool, `${path}/${phase}`, isPatient));
  working -= 1;
}

async function work(path, answer) {
  const own = Array.from({ length: 5 }, () => tools[dice(tools.length)]);
  const any = () => own[dice(own.length)];
  await one('during', any(), path);
  for (let left = DURING - 2; left > 0; left -= 6) {
    const parallel = Math.min(6, left);
    await Promise.all(Array.from({ length: parallel }, () => sleep(dice(40)).then(() => one('parallel', any(), path))));
  }
  await one('during', any(), path);
  void one('grave', GRAVE, path, false);
  for (let left = LATE; left > 0; left -= 1) setTimeout(() => void one('late', any(), path), dice(LATE_MS));
  setTimeout(() => void one('gone', any(), path, false), Number(GONE_MS));
  answer.end('done');
}

http
  .createServer((request, answer) => {
    if (request.url === '/ready') answer.end('yes');
    else if (request.url === '/outcomes') answer.end(JSON.stringify({ working, outcomes }));
    else void work(request.url, answer);
  })
  .listen(Number(PORT), '127.0.0.1');
