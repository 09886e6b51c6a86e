/**
 * What the client of the Workload API uses of gRPC, for the bundle: unix sockets and addresses, one connection. gRPC's own index loads
 * servers, other balancers and name resolution with it.
 */
// First, as in gRPC's index: its files ask for each other in a ring.
import '@grpc/grpc-js/build/src/channel.js';
import { ChannelCredentials } from '@grpc/grpc-js/build/src/channel-credentials.js';
import { setup as pickFirst } from '@grpc/grpc-js/build/src/load-balancer-pick-first.js';
import { setup as addresses } from '@grpc/grpc-js/build/src/resolver-ip.js';
import { setup as sockets } from '@grpc/grpc-js/build/src/resolver-uds.js';

addresses();
sockets();
pickFirst();

export const credentials = { createInsecure: () => ChannelCredentials.createInsecure() };
export { Client } from '@grpc/grpc-js/build/src/client.js';
export { ConnectivityState as connectivityState } from '@grpc/grpc-js/build/src/connectivity-state.js';
export { Status as status } from '@grpc/grpc-js/build/src/constants.js';
export { Metadata } from '@grpc/grpc-js/build/src/metadata.js';
