import { z } from 'zod';
import type { SettingPath } from './config-errors.ts';
import { settingsSchema } from './settings.ts';
import { valueAt } from './written.ts';

/** What we read of a JSON schema (draft 2020-12). */
export interface SchemaNode {
  readonly title?: string;
  readonly description?: string;
  readonly examples?: readonly unknown[];
  readonly default?: unknown;
  /** What stands for the default where it depends on other settings. */
  readonly 'x-default'?: string;
  readonly type?: string;
  readonly const?: string | number;
  readonly enum?: readonly (string | number)[];
  readonly anyOf?: readonly SchemaNode[];
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode;
  readonly pattern?: string;
}

// Kept, since one broken file asks for it many times.
let made: SchemaNode | undefined;

/** The JSON schema of what a person writes (the input side). Made when first asked for: a good configuration does not need it. */
export function settingsJsonSchema(): SchemaNode {
  made ??= makeJsonSchema();
  return made;
}

function makeJsonSchema(): SchemaNode {
  const schema = z.toJSONSchema(settingsSchema, {
    io: 'input',
    override: ({ zodSchema, jsonSchema }) => {
      // `readonly` is about our own objects, and says nothing of the file.
      delete jsonSchema.readOnly;
      // zod leaves examples out where a value is transformed; ours are all written ones.
      const examples = z.globalRegistry.get(zodSchema)?.['examples'];
      if (Array.isArray(examples)) jsonSchema.examples = examples;
    },
  });
  const parsed: SchemaNode = JSON.parse(JSON.stringify(schema));
  return parsed;
}

/**
 * The tables that may stand at a path: more than one where a setting can be written in several ways, none where it is unknown. What is
 * written around it tells which of several mappings is meant.
 */
export function findNodes(path: SettingPath, written?: unknown): readonly SchemaNode[] {
  let nodes = spread(settingsJsonSchema());
  for (const [depth, step] of path.entries()) {
    nodes = meant(nodes, valueAt(written, path.slice(0, depth))).flatMap((node) => spreadChild(node, step));
  }
  return nodes;
}

/** Without the mappings that fit the written keys worse than another one does. */
function meant(nodes: readonly SchemaNode[], value: unknown): readonly SchemaNode[] {
  if (typeof value !== 'object' || value === null || nodes.length < 2) return nodes;
  const keys = Object.keys(value);
  const strays = (node: SchemaNode): number =>
    keys.filter((key) => !Object.hasOwn(node.properties ?? {}, key)).length +
    (node.required ?? []).filter((key) => !keys.includes(key)).length;
  const least = Math.min(...nodes.filter((node) => node.properties !== undefined).map(strays));
  return nodes.filter((node) => node.properties === undefined || strays(node) === least);
}

/** The keys that may stand at a path. */
export function knownKeys(path: SettingPath): readonly string[] {
  return findNodes(path).flatMap((node) => Object.keys(node.properties ?? {}));
}

/** One step down: a named key, any name of a mapping, or any entry of a list. */
function spreadChild(node: SchemaNode, step: string | number): readonly SchemaNode[] {
  if (typeof step === 'number') return node.items === undefined ? [] : spread(node.items);
  const own = Object.hasOwn(node.properties ?? {}, step) ? node.properties?.[step] : undefined;
  if (own !== undefined) return spread(own);
  return typeof node.additionalProperties === 'object' ? spread(node.additionalProperties) : [];
}

/** A table and all the forms it may take. */
function spread(node: SchemaNode): readonly SchemaNode[] {
  return node.anyOf === undefined ? [node] : [node, ...node.anyOf.flatMap(spread)];
}

/** What may be written, in words: `none` or `dpop`; a list of text; a mapping with `workload_api`. */
export function describeType(node: SchemaNode): string {
  if (node.anyOf !== undefined) return node.anyOf.map(describeType).join(' or ');
  if (node.const !== undefined) return `\`${String(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${String(value)}\``).join(', ');
  if (node.type === 'array') return describeList(node.items);
  if (node.type === 'object') return describeMapping(node);
  if (node.type === 'boolean') return '`true` or `false`';
  if (node.type === 'integer' || node.type === 'number') return 'a whole number';
  return node.pattern?.includes('ms|s|m|h') === true ? 'a duration' : 'text';
}

function describeList(items: SchemaNode | undefined): string {
  if (items === undefined) return 'a list';
  if (items.anyOf?.every((form) => form.type === 'object') === true) return 'a list of mappings';
  return items.type === 'object' ? 'a list of mappings' : `a list of ${describeType(items)}`;
}

function describeMapping(node: SchemaNode): string {
  const keys = Object.keys(node.properties ?? {});
  return keys.length === 0 ? 'a mapping by name' : `a mapping with ${keys.map((key) => `\`${key}\``).join(', ')}`;
}
