import type { Call } from '../intercept/call.ts';
import { Refusal } from '../refusal.ts';
import type { HandleBook } from '../tasks/handle.ts';

const handleShape = /wbh_[A-Za-z0-9_-]{51}/g;

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
  // The way of nearly every call: two scans for a character or two, and nothing is built.
  const plain = text.includes('%') ? unescaped(text) : text;
  if (!plain.includes('wbh_')) return;
  for (const [found] of plain.matchAll(handleShape)) {
    if (typeof handles.find(found) === 'object') throw new Refusal('credential_leak');
  }
}

/** Percent-decoded as far as ASCII goes: broken escapes stay, since nobody promises that a header holds a URI. */
function unescaped(text: string): string {
  return text.replaceAll(/%([2-7][0-9a-f])/gi, (_whole, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}
