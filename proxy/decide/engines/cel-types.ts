import { CelScalar, listType, objectType, type CelFunc, type CelType } from '@bufbuild/cel';
import { facts, type FactName } from '../facts.ts';

export const { BOOL, DYN } = CelScalar;

const factTypes = {
  string: CelScalar.STRING,
  int: CelScalar.INT,
  strings: listType(CelScalar.STRING),
  timestamp: objectType('google.protobuf.Timestamp'),
} as const satisfies Record<string, CelType>;

export function typeOfFact(name: FactName): CelType {
  return factTypes[facts[name].type];
}

/** Types of literals by their kind in the parser's tree. */
export const constantTypes: ReadonlyMap<string | undefined, CelType> = new Map<string, CelType>([
  ['boolValue', CelScalar.BOOL],
  ['bytesValue', CelScalar.BYTES],
  ['doubleValue', CelScalar.DOUBLE],
  ['int64Value', CelScalar.INT],
  ['nullValue', CelScalar.NULL],
  ['stringValue', CelScalar.STRING],
  ['uint64Value', CelScalar.UINT],
]);

/** Names of types that a rule may write, as in `type(x) == int`. */
export const typeNames: ReadonlySet<string> = new Set([
  'bool',
  'bytes',
  'double',
  'int',
  'list',
  'map',
  'null_type',
  'string',
  'type',
  'uint',
]);

/** `dyn` is any type: what is known only at run time is never a fault here. */
export function isSame(a: CelType, b: CelType): boolean {
  return a === DYN || b === DYN || (a.kind === b.kind && a.name === b.name);
}

/** Whether `==` can ever be true; the numeric types compare with one another. */
export function isComparable(a: CelType, b: CelType): boolean {
  return isSame(a, b) || (isNumber(a) && isNumber(b));
}

function isNumber({ name }: CelType): boolean {
  return name === 'int' || name === 'uint' || name === 'double';
}

export function commonType(types: readonly CelType[]): CelType {
  const [first, ...rest] = types;
  return first !== undefined && rest.every((type) => type === first) ? first : DYN;
}

/** With its article: `an int`, `a timestamp`. */
export function describeType(type: CelType): string {
  const name = type.name.replace(/^google\.protobuf\./, '').toLowerCase();
  if (name === 'dyn') return 'a value';
  return name === 'null_type' ? 'null' : `${/^[aeio]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** The result of the overloads that take these arguments, or undefined where there is none. */
export function resultOf(
  overloads: Iterable<CelFunc>,
  target: CelType | undefined,
  args: readonly CelType[],
): CelType | undefined {
  const results = [...overloads].filter((overload) => takes(overload, target, args)).map((overload) => overload.result);
  return results.length === 0 ? undefined : commonType(results);
}

function takes(overload: CelFunc, target: CelType | undefined, args: readonly CelType[]): boolean {
  if ((overload.target === undefined) !== (target === undefined)) return false;
  if (overload.target !== undefined && target !== undefined && !isSame(overload.target, target)) return false;
  return (
    overload.arguments.length === args.length &&
    overload.arguments.every((type, i) => {
      const given = args[i];
      return given !== undefined && isSame(type, given);
    })
  );
}

/** `string.startsWith(int)`, `int + string`: a use as a person would write it. */
export function describeUse(name: string, target: CelType | undefined, args: readonly CelType[]): string {
  const operator = /^_(.+)_$/.exec(name)?.[1] ?? (name === '@in' ? 'in' : undefined);
  const [left, right] = args;
  if (operator !== undefined && left !== undefined && right !== undefined)
    return `${left.name} ${operator} ${right.name}`;
  const prefix = /^(.)_$/.exec(name)?.[1];
  if (prefix !== undefined && left !== undefined) return `${prefix}${left.name}`;
  return `${target === undefined ? '' : `${target.name}.`}${name}(${args.map((type) => type.name).join(', ')})`;
}
