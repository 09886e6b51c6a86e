/** Baseline: http-proxy 1.18.1 with a keep-alive agent, the way most Node proxies are built. Argument: the upstream's port. */
import { Agent, createServer } from 'node:http';
import library from 'http-proxy-baseline';
import { bearer, listen } from './baseline.ts';

const proxy = library.createProxyServer({
  target: `http://127.0.0.1:${process.argv[2]}`,
  agent: new Agent({ keepAlive: true }),
});
proxy.on('proxyReq', (outgoing) => outgoing.setHeader('Authorization', bearer));
proxy.on('error', (_error, _request, response) => {
  if (response.headersSent) response.destroy();
  else response.writeHead(502).end();
});

listen(createServer((request, response) => proxy.web(request, response)));
