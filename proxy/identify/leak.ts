import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import { handleLength, handleTextsIn, mayHoldHandle } from '../tasks/handle-text.ts';
import type { HandleBook } from '../tasks/handle.ts';

/**
 * Refuses a call that carries a handle of ours where no credential belongs: path, query, cookie, or a header that is passed on. Such a
 * call would hand it to the tool, its logs and our record (DESIGN 7, `credential_leak`; W8). Bodies are not looked at.
 */
export function checkLeak(call: Call, handles: HandleBook): void {
  checkText(call.target.path, handles);
  const { forward, cookies } = call.headers;
  for (let at = 1; at < forward.length; at += 2) checkText(forward[at] ?? '', handles);
  for (let at = 1; at < cookies.length; at += 2) checkText(cookies[at] ?? '', handles);
}

function checkText(text: string, handles: HandleBook): void {
  // The way of nearly every call: nothing to do, or a few scans for a character or two, and nothing is built.
  if (text.length < handleLength || !mayHoldHandle(text)) return;
  for (const found of handleTextsIn(text)) {
    if (typeof handles.find(found) === 'object') throw new Refusal('credential_leak');
  }
}
