/**
 * What the sidecar uses of undici, for the bundle. undici's own index loads fetch, WebSocket, caches and mocks with it: a quarter of the
 * start-up time and of the memory of an idle sidecar.
 */
import errors from 'undici/lib/core/errors.js';
import requestOf from 'undici/lib/api/api-request.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import Client from 'undici/lib/dispatcher/client.js';
export { Agent, Client, errors };

/** As undici's `request`, for the form in which it is called here: a URL, and a dispatcher of our own. */
export function request(url, { dispatcher, ...options }) {
  const { origin, pathname, search } = new URL(url);
  return requestOf.call(dispatcher, { ...options, origin, path: `${pathname}${search}` });
}
