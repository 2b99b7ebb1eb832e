// An OPC UA server of another make (node-opcua) with counters that count and a history of one of them, for test_interop_returning.py.
// usage: node returning.js PORT
"use strict";
const path = require("node:path");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { nodesets } = require("node-opcua-nodesets");
const { DataType, Variant } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");

async function main() {
  const certificates = new OPCUACertificateManager({ rootFolder: path.join(process.env.INTEROP_HOME, "pki"), automaticallyAcceptUnknownCertificate: true });
  await certificates.initialize();
  const server = new OPCUAServer({
    port: Number(process.argv[2]), hostname: "127.0.0.1", nodeset_filename: [nodesets.standard], serverCertificateManager: certificates,
    securityPolicies: [SecurityPolicy.None], securityModes: [MessageSecurityMode.None],
  });
  await server.initialize();
  // OPC 10000-4, 5.14.7 gives a subscription of an anonymous user to nobody without a secured channel.
  server.engine.allowAnonymousSubscriptionTransferOnUnsecuredChannel = true;
  const space = server.engine.addressSpace;
  const own = space.registerNamespace("urn:edge-agent:interop");
  const line = own.addObject({ organizedBy: space.rootFolder.objects, browseName: "Line", nodeId: "s=Line" });
  const counters = ["a", "b", "c"].map((name) => own.addVariable({ componentOf: line, browseName: name, nodeId: `s=${name}`, dataType: "Int32" }));
  space.installHistoricalDataNode(counters[0], { maxOnlineValues: 100000 });
  let count = 0;
  const tick = () => {
    count += 1;
    counters.forEach((counter) => counter.setValueFromSource(new Variant({ dataType: DataType.Int32, value: count }), StatusCodes.Good));
  };
  tick();
  setInterval(tick, 200);
  await server.start();
  process.stdout.write("ready\n");
  process.stdin.on("data", () => {
    process.stdout.write(`subscriptions ${server.engine.currentSubscriptionCount} sessions ${server.currentSessionCount}\n`);
  });
}

main().catch((error) => { process.stderr.write(`${error.stack}\n`); process.exit(1); });
