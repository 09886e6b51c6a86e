/** What the configuration of one SPIRE server and its agent is made of. */
export interface SpirePlaces {
  readonly trustDomain: string;
  /** Folder of the server and of the agent, each with its data and its socket. */
  readonly serverDir: string;
  readonly agentDir: string;
  readonly serverPort: number;
  /** Port of the bundle endpoint, profile https_spiffe. */
  readonly bundlePort: number;
}

/** How often caches are renewed: production takes 5 s, and a test waits for each of them. */
const often = '500ms';

/** `server.conf`: sqlite, keys on disk, join tokens, the bundle endpoint; all of it on loopback. */
export function serverConfig({ trustDomain, serverDir, serverPort, bundlePort }: SpirePlaces): string {
  return `
server {
  bind_address = "127.0.0.1"
  bind_port = "${serverPort}"
  trust_domain = "${trustDomain}"
  data_dir = "${serverDir}/data"
  socket_path = "${serverDir}/api.sock"
  log_level = "WARN"
  ca_ttl = "24h"
  default_x509_svid_ttl = "1h"
  default_jwt_svid_ttl = "5m"
  jwt_issuer = "https://${trustDomain}"
  federation {
    bundle_endpoint {
      address = "127.0.0.1"
      port = ${bundlePort}
      refresh_hint = "5s"
      profile "https_spiffe" {}
    }
  }
  experimental { cache_reload_interval = "${often}" }
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = "${serverDir}/data/datastore.sqlite3"
    }
  }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { keys_path = "${serverDir}/data/keys.json" } }
}
`;
}

/** `agent.conf`. Workloads are told apart by user and by the program that they run; a program of 100 MB is not hashed for each call. */
export function agentConfig({ trustDomain, agentDir, serverPort }: SpirePlaces): string {
  return `
agent {
  server_address = "127.0.0.1"
  server_port = "${serverPort}"
  trust_domain = "${trustDomain}"
  data_dir = "${agentDir}/data"
  socket_path = "${agentDir}/agent.sock"
  trust_bundle_path = "${agentDir}/bundle.pem"
  log_level = "WARN"
  experimental { sync_interval = "${often}" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "${agentDir}/data" } }
  WorkloadAttestor "unix" {
    plugin_data {
      discover_workload_path = true
      workload_size_limit = -1
    }
  }
}
`;
}
