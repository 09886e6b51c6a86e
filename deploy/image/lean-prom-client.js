/**
 * What the sidecar uses of prom-client, for the bundle. Its own index loads what pushes metrics, gathers them of a cluster and counts the
 * process: parts of Node.js that a start otherwise does without.
 */
import Counter from 'prom-client/lib/counter.js';
import Gauge from 'prom-client/lib/gauge.js';
import Histogram from 'prom-client/lib/histogram.js';
import Registry from 'prom-client/lib/registry.js';
export { Counter, Gauge, Histogram, Registry };
