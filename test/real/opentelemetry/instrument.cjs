'use strict';
// As the documentation of OpenTelemetry says: its SDK with two instrumentations, its own propagators, and an exporter that keeps nothing.
const { NodeSDK } = require('@opentelemetry/sdk-node');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { UndiciInstrumentation } = require('@opentelemetry/instrumentation-undici');

const traceExporter = { export: (_spans, done) => done({ code: 0 }), shutdown: () => Promise.resolve() };
const instrumentations = [new HttpInstrumentation(), new UndiciInstrumentation()];
new NodeSDK({ serviceName: 'agent', traceExporter, instrumentations }).start();
