import { expect, test } from 'vitest';
import { grpcTarget, InvalidEndpointSocket, parseEndpointSocket } from '../../proxy/spiffe/endpoint-socket.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const vectors = readSpiffeVectors('endpoint-socket');

test('valid values of SPIFFE_ENDPOINT_SOCKET are read', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.valid.length).toBeGreaterThan(0);
  for (const address of vectors.valid) {
    const socket = parseEndpointSocket(address);
    const spelled = socket.kind === 'unix' ? `unix://${socket.path}` : `tcp://${socket.address}:${socket.port}`;
    expect(spelled).toBe(address);
  }
});

test('invalid values of SPIFFE_ENDPOINT_SOCKET are refused', ({ skip }) => {
  if (vectors === undefined) {
    skip(absent);
    return;
  }
  expect(vectors.invalid.length).toBeGreaterThan(0);
  for (const { addr, reason } of vectors.invalid) {
    expect(() => parseEndpointSocket(addr), `${JSON.stringify(addr)}: ${reason}`).toThrow(InvalidEndpointSocket);
  }
});

test.each([
  ['unix:///run/agent.sock', 'unix:/run/agent.sock'],
  ['tcp://127.0.0.1:8000', 'ipv4:127.0.0.1:8000'],
  ['tcp://[::1]:8000', 'ipv6:[::1]:8000'],
])('%s is dialled as %s', (address, target) => {
  expect(grpcTarget(parseEndpointSocket(address))).toBe(target);
});

test.each([
  'tcp://localhost:8000',
  'tcp://::1:8000',
  'tcp://[127.0.0.1]:8000',
  'tcp://127.0.0.1:0',
  'tcp://127.0.0.1:65536',
  'tcp://127.1:8000',
  'unix:///run/a%2fb',
  'unix:///run/agent.sock\n',
  'unix:///run/',
  '',
])('%j is refused', (address) => {
  expect(() => parseEndpointSocket(address)).toThrow(InvalidEndpointSocket);
});
