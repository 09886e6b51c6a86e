import { openAuthority } from '../../proxy/embedded/authority.ts';
import { openWorkloadApiServer } from '../../proxy/embedded/workload-api.ts';

// A Workload API in a process of its own, so that a test can kill it: `node workload-api-process.ts SOCKET`.
const [, , socketPath = ''] = process.argv;

await openWorkloadApiServer({
  socketPath,
  authority: await openAuthority('example.org'),
  spiffeId: 'spiffe://example.org/agent',
  x509TtlSeconds: 60,
  jwtTtlSeconds: 60,
});
process.stdout.write('ready\n');
