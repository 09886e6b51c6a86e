import { expect, test } from 'vitest';
import { messages, securityHeader, workloadApiService } from '../../proxy/spiffe/service-definition.ts';
import { absent, readSpiffeVectors } from './spiffe-vectors.ts';

const definition = readSpiffeVectors('workload-api');
const wire = readSpiffeVectors('workload-api-wire');
const methods = Object.entries(workloadApiService);

test('methods have the paths and shapes of the standard', ({ skip }) => {
  if (definition === undefined) {
    skip(absent);
    return;
  }
  expect(definition.metadata).toEqual({ [securityHeader.name]: securityHeader.value });
  expect(methods.map(([name]) => name)).toEqual(Object.keys(definition.methods).slice(0, methods.length));
  for (const [name, method] of methods) {
    const [, response] = definition.methods[name]!;
    expect(method.path).toBe(`/${definition.service}/${name}`);
    expect([method.requestStream, method.responseStream]).toEqual([false, response.startsWith('stream ')]);
  }
});

test('messages have the fields, numbers and types of the standard', ({ skip }) => {
  if (definition === undefined) {
    skip(absent);
    return;
  }
  for (const [name] of methods) {
    for (const told of definition.methods[name]!) {
      const message = told.replace('stream ', '');
      expect(fieldsOf(message), message).toEqual(definition.messages[message]);
    }
  }
});

test('messages are read and written byte for byte', ({ skip }) => {
  if (wire === undefined || definition === undefined) {
    skip(absent);
    return;
  }
  const spoken = wire.samples.filter(({ message }) => codecOf(message) !== undefined);
  expect(spoken.map(({ message }) => message)).toEqual([
    'X509SVIDRequest',
    'X509SVIDResponse',
    'X509BundlesResponse',
    'JWTSVIDRequest',
    'JWTSVIDResponse',
    'JWTBundlesResponse',
  ]);
  for (const { message, object, hex } of spoken) {
    const { encode, decode } = codecOf(message)!;
    expect(encode(fromSample(object) as never).toString('hex'), message).toBe(hex);
    expect(decode(Buffer.from(hex, 'hex')), message).toMatchObject(fromSample(object) as object);
  }
});

test('unknown fields are skipped, fields may come in any order, and a message that is cut short is an error', ({
  skip,
}) => {
  if (wire === undefined) {
    skip(absent);
    return;
  }
  const { decode } = codecOf('X509SVIDResponse')!;
  const whole = Buffer.from(wire.samples.find(({ message }) => message === 'X509SVIDResponse')!.hex, 'hex');
  const unknown = Buffer.from('ca3e03616263', 'hex');
  expect(decode(Buffer.concat([unknown, whole, unknown]))).toEqual(decode(whole));
  // Its last field (the federated bundle, 26 bytes) first.
  expect(decode(Buffer.concat([whole.subarray(-26), whole.subarray(0, -26)]))).toEqual(decode(whole));
  for (const length of [1, 10, whole.length - 1]) expect(() => decode(whole.subarray(0, length))).toThrow(RangeError);
});

test('two entries of one key are both seen', () => {
  const { responseSerialize: encode, responseDeserialize: decode } = workloadApiService.FetchJWTBundles;
  const twice = { bundles: ['one', 'two'].map((text) => ({ key: 'spiffe://example.org', value: Buffer.from(text) })) };
  expect(decode(encode(twice))).toEqual(twice);
});

interface Codec {
  readonly encode: (value: never) => Buffer;
  readonly decode: (bytes: Buffer) => object;
}

function codecOf(message: string): Codec | undefined {
  for (const [name, method] of methods) {
    const [request, response] = definition?.methods[name] ?? [];
    if (request === message) return { encode: method.requestSerialize, decode: method.requestDeserialize };
    if (response?.replace('stream ', '') === message) {
      return { encode: method.responseSerialize, decode: method.responseDeserialize };
    }
  }
  return undefined;
}

/** Samples write bytes as `{hex}` and maps as objects; our messages hold Buffers, and maps as the entries they are on the wire. */
function fromSample(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromSample);
  if (typeof value !== 'object' || value === null) return value;
  if ('hex' in value) return Buffer.from(String(value.hex), 'hex');
  const members = Object.entries(value).map(([name, member]) => {
    const isMap = name === 'bundles' || name === 'federated_bundles';
    return [
      name,
      isMap ? Object.entries(member).map(([key, entry]) => ({ key, value: fromSample(entry) })) : fromSample(member),
    ];
  });
  return Object.fromEntries(members);
}

/** The fields of a message as the vectors write them. */
function fieldsOf(message: string): Record<string, [number, string]> {
  const { fieldsArray } = messages.lookupType(message);
  return Object.fromEntries(
    fieldsArray.map(({ name, id, type, repeated }) => {
      const written = type === 'BytesEntry' ? 'map<string,bytes>' : repeated ? `repeated ${type}` : type;
      return [name, [id, written]];
    }),
  );
}
