import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answerEcho, type EchoTool, openEchoTool } from './echo-tool.ts';
import { openStage, type Stage } from './way-out-stage.ts';

export const owner = 'payments@example.org';
export const tokenTools = ['crm', 'files', 'brief', 'bound'];
export const toolNames = [...tokenTools, 'mail'];
/** How long a token of the tool `brief` is used. */
export const useForMs = 1500;

/** A sidecar with tools of each kind whose credentials an inventory lists. */
export interface InventoryStage {
  readonly stage: Stage;
  readonly tool: EchoTool;
  /** Tokens that the tools call expired. */
  readonly refused: Set<string>;
  /** The static key of the tool `mail`. */
  readonly keyFile: string;
  close(): Promise<void>;
}

export async function openInventoryStage(): Promise<InventoryStage> {
  const refused = new Set<string>();
  const tool = await openEchoTool({
    answer: (call, response) => {
      const text = (call.headers.authorization ?? '').split(' ')[1] ?? '';
      if (!refused.has(text)) answerEcho(call, response);
      else response.writeHead(401, { 'www-authenticate': 'Bearer error="invalid_token"' }).end();
    },
  });
  const dir = mkdtempSync(join(tmpdir(), 'waybill-truth-'));
  const keyFile = join(dir, 'key');
  writeFileSync(keyFile, 'key-number-0');
  const { port } = tool;
  const stage = await openStage({
    dir,
    service: { lifeSeconds: 900 },
    tools: {
      crm: { port },
      files: { port },
      brief: { port, useFor: `${useForMs}ms` },
      bound: { port, proof: 'dpop' },
      mail: { port, token: false, more: { secret: { file: keyFile, in: 'header' } } },
    },
    sections: {
      agent: { name: 'bot', owner, purpose: 'reconcile' },
      tasks: { deadline: '10m' },
      purposes: { reconcile: { tools: toolNames, risk: 'write' }, look: { tools: ['crm', 'files'], risk: 'read' } },
    },
  });
  return {
    stage,
    tool,
    refused,
    keyFile,
    async close() {
      await stage.close();
      await tool.close();
    },
  };
}
